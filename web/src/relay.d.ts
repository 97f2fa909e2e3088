// Written by `npm run types` from crates/relay/openapi.json; do not edit.

export interface paths {
    "/relay/v1/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document */
        get: operations["openapi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/version": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What is running here */
        get: operations["version"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/whoami": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who the credential belongs to, and what it allows */
        get: operations["whoami"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/devices": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The caller's devices: those that are connected, and those that were */
        get: operations["listDevices"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/devices/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Remove a device: end its session, and every token, key and login that is bound to it */
        delete: operations["removeDevice"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/devices/{name}/label": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Say what the caller calls a device */
        put: operations["labelDevice"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/devices/{name}/disconnect": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End a device's connection, and what runs on it; its agent dials again within seconds */
        post: operations["disconnectDevice"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/requests": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The caller's last requests, with a token of scope account */
        get: operations["listRequests"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The caller's keys that have neither ended nor been revoked */
        get: operations["listKeys"];
        put?: never;
        /** Make a key */
        post: operations["makeKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/keys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Revoke a key, for what is under way, too */
        delete: operations["revokeKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/keys/{id}/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make a key like this one, which ends after the overlap */
        post: operations["rotateKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/tokens/revoke": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Revoke a token of the caller's, for what is under way, too */
        post: operations["revokeToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/sign-out": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End every token and device login of the caller's that was issued before now */
        post: operations["signOut"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/logins/describe": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Who asks to be let in under a code */
        post: operations["describeLogin"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/logins/approve": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Say yes: the device becomes the caller's */
        post: operations["approveLogin"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/logins/deny": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Say no */
        post: operations["denyLogin"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/login/device": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Begin the login of a device (RFC 8628) */
        post: operations["startLogin"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/login/token": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Redeem an approved login, or refresh one */
        post: operations["token"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/relay/v1/login/revoke": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** End a login (RFC 7009) */
        post: operations["endLogin"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Error: {
            error: string;
            code: string;
            /** @enum {string} */
            origin: "caller" | "relay" | "agent" | "upstream";
            retry_safe: boolean;
            request_id: string;
        };
        Version: {
            build: string;
            protocol_version: number;
        };
        Caller: {
            user: string;
            issuer: string;
            /** @enum {string} */
            kind: "api";
            scopes: string[];
            /**
             * Format: int64
             * @description Seconds since 1970.
             */
            expires_unix_seconds: number;
            /** @description What the credential is called in lists and logs. */
            credential: string;
            device: string | null;
            models: string[];
            requests_per_minute: number | null;
        };
        Device: {
            name: string;
            /** @description What its user calls it. */
            label: string | null;
            session_id: string;
            /**
             * Format: int64
             * @description Seconds since 1970.
             */
            connected_unix_seconds: number;
            build: string;
            /**
             * @description How it is connected.
             * @enum {string}
             */
            transport: "grpc" | "websocket";
            /** @description Where it is connected from; null without the scope account. */
            address: string | null;
            active_streams: number;
            total_streams: number;
            is_draining: boolean;
        };
        OfflineDevice: {
            name: string;
            /** @description What its user calls it. */
            label: string | null;
            /**
             * Format: int64
             * @description Seconds since 1970, to about a minute.
             */
            last_seen_unix_seconds: number;
        };
        Request: {
            /**
             * Format: int64
             * @description Its own number: grows with the beginning, among the caller's.
             */
            seq: number;
            /** @description As in x-request-id. */
            id: string;
            /**
             * Format: int64
             * @description Milliseconds since 1970.
             */
            started_unix_ms: number;
            /** @description The one that it went to, or null. */
            device: string | null;
            /** @description The upstream's path, without a credential or a query. */
            route: string;
            method: string;
            /** @description The model that the request named, as it spelled it; null until its agent answers, and where that does not tell it. */
            model: string | null;
            /** @description Null until the answer begins, and for a caller who left before. */
            status: number | null;
            /** @description The kind of error, as in the field `code` of errors; `caller_gone` for a caller who left. */
            error: string | null;
            /**
             * @description Who is at fault.
             * @enum {string|null}
             */
            origin: "caller" | "relay" | "agent" | "upstream" | null;
            /**
             * Format: int64
             * @description From the request to the beginning of its answer.
             */
            first_byte_ms: number | null;
            /**
             * Format: int64
             * @description Null while it runs.
             */
            duration_ms: number | null;
            /**
             * Format: int64
             * @description Of the request's body, so far.
             */
            bytes_up: number;
            /**
             * Format: int64
             * @description Of the answer's body, so far.
             */
            bytes_down: number;
            /**
             * Format: int64
             * @description Pieces of the answer's body that left, so far: of a streamed answer about one a token.
             */
            chunks: number | null;
            /** @description As in whoami. */
            credential: string;
        };
        KeyRequest: {
            /** @description 1 to 64 bytes without control characters. */
            name: string;
            /**
             * @default api
             * @enum {string}
             */
            kind: "api" | "agent";
            /** @description Infer for an api key and nothing for an agent's, unless said. */
            scopes?: ("infer" | "manage")[];
            /** @description Patterns of the models that it may use; any when empty. */
            models?: string[];
            /** @description Bind it to the one device of this name. */
            device?: string | null;
            requests_per_minute?: number | null;
            /** @description Until it is revoked, unless said. */
            expires_in_seconds?: number | null;
        };
        Key: {
            /** @description Names the key; opens nothing. */
            id: string;
            /** @description 1 to 64 bytes without control characters. */
            name: string;
            /** @enum {string} */
            kind: "api" | "agent";
            scopes: ("infer" | "manage")[];
            /** @description Patterns of the models that it may use; any when empty. */
            models: string[];
            /** @description The one device it is bound to, or null. */
            device: string | null;
            requests_per_minute: number | null;
            /**
             * Format: int64
             * @description Seconds since 1970.
             */
            created_unix_seconds: number;
            /**
             * Format: int64
             * @description Seconds since 1970, or null.
             */
            expires_unix_seconds: number | null;
            /**
             * Format: int64
             * @description Seconds since 1970, or null.
             */
            last_used_unix_seconds: number | null;
        };
        NewKey: {
            /** @description Names the key; opens nothing. */
            id: string;
            /** @description 1 to 64 bytes without control characters. */
            name: string;
            /** @enum {string} */
            kind: "api" | "agent";
            scopes: ("infer" | "manage")[];
            /** @description Patterns of the models that it may use; any when empty. */
            models: string[];
            /** @description The one device it is bound to, or null. */
            device: string | null;
            requests_per_minute: number | null;
            /**
             * Format: int64
             * @description Seconds since 1970.
             */
            created_unix_seconds: number;
            /**
             * Format: int64
             * @description Seconds since 1970, or null.
             */
            expires_unix_seconds: number | null;
            /** @description The key itself. It is not kept: this is the only time that it is shown. */
            key: string;
        };
        RotatedKey: {
            /** @description Names the key; opens nothing. */
            id: string;
            /** @description 1 to 64 bytes without control characters. */
            name: string;
            /** @enum {string} */
            kind: "api" | "agent";
            scopes: ("infer" | "manage")[];
            /** @description Patterns of the models that it may use; any when empty. */
            models: string[];
            /** @description The one device it is bound to, or null. */
            device: string | null;
            requests_per_minute: number | null;
            /**
             * Format: int64
             * @description Seconds since 1970.
             */
            created_unix_seconds: number;
            /**
             * Format: int64
             * @description Seconds since 1970, or null.
             */
            expires_unix_seconds: number | null;
            /** @description The key itself. It is not kept: this is the only time that it is shown. */
            key: string;
            /** @description The id of the key that it takes the place of. */
            replaces: string;
        };
        CodeOfLogin: {
            /** @description As the device shows it; case and dashes mean nothing. */
            user_code: string;
        };
        Login: {
            device: string;
            address: string;
            asked_unix_seconds: number;
        };
        StartedLogin: {
            device_code: string;
            user_code: string;
            verification_uri: string;
            verification_uri_complete?: string;
            expires_in: number;
            interval: number;
        };
        Tokens: {
            access_token: string;
            /** @description Bearer */
            token_type: string;
            expires_in: number;
            refresh_token: string;
            device_name: string;
        };
        OAuthError: {
            error: string;
            error_description: string;
        };
    };
    responses: {
        /** @description What is wrong. `Retry-After` says when to come back, where that helps. */
        Error: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/json": components["schemas"]["Error"];
            };
        };
    };
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    openapi: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description An OpenAPI document. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            default: components["responses"]["Error"];
        };
    };
    version: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The build. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Version"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    whoami: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The caller. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Caller"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    listDevices: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What is connected, the one connected last first, and what is not. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        devices: components["schemas"]["Device"][];
                        /** @description Those that were connected in the last 90 days or have a label, by name. */
                        offline: components["schemas"]["OfflineDevice"][];
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    removeDevice: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The name of a device. */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What ended. A token for the device that is issued from now on counts. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        removed: string;
                        sessions: number;
                        keys: number;
                        logins: number;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    labelDevice: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The name of a device. */
                name: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description 1 to 64 bytes without control characters and without space at the ends; null takes it away. */
                    label: string | null;
                };
            };
        };
        responses: {
            /** @description What it is called from now on. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        device: string;
                        label: string | null;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    disconnectDevice: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The name of a device. */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How many connections that were. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        device: string;
                        sessions: number;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    listRequests: {
        parameters: {
            query?: {
                /** @description The cursor of an answer (`next`): then come those that began or ended since, and those that run. */
                after?: number;
                /** @description The newest so many. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The newest last. The last 200 of an hour are kept, until the relay ends; no bodies, no queries. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        requests: components["schemas"]["Request"][];
                        /**
                         * Format: int64
                         * @description The cursor for the next question; 0 when there is none of the caller's.
                         */
                        next: number;
                        /**
                         * Format: int64
                         * @description The relay's clock, in milliseconds since 1970.
                         */
                        now_unix_ms: number;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    listKeys: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description In the order of being made. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        keys: components["schemas"]["Key"][];
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    makeKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["KeyRequest"];
            };
        };
        responses: {
            /** @description The key, shown this once. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewKey"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    revokeKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The id of a key. */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It opens nothing any more. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        revoked: string;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    rotateKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The id of a key. */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    /**
                     * @description How long the old key goes on. What it has begun may end in any case.
                     * @default 0
                     */
                    overlap_seconds?: number;
                };
            };
        };
        responses: {
            /** @description The new key, shown this once. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RotatedKey"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    revokeToken: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description Its jti. */
                    token_id?: string;
                    /** @description The token itself. */
                    token?: string;
                };
            };
        };
        responses: {
            /** @description It opens nothing any more. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description What the token is known by. */
                        revoked: string;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    signOut: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    /**
                     * @description Revoke every key as well.
                     * @default false
                     */
                    keys?: boolean;
                };
            };
        };
        responses: {
            /** @description What is issued from now on counts. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * Format: int64
                         * @description Seconds since 1970.
                         */
                        not_before_unix_seconds: number;
                        keys_revoked: boolean;
                    };
                };
            };
            default: components["responses"]["Error"];
        };
    };
    describeLogin: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CodeOfLogin"];
            };
        };
        responses: {
            /** @description The device that shows the code. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Login"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    approveLogin: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CodeOfLogin"];
            };
        };
        responses: {
            /** @description The device that was let in. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Login"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    denyLogin: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CodeOfLogin"];
            };
        };
        responses: {
            /** @description The device that was not let in. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Login"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    startLogin: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/x-www-form-urlencoded": {
                    /** @description How the program calls itself. */
                    client_id?: string;
                    /** @description How the device calls itself. */
                    device_name: string;
                };
            };
        };
        responses: {
            /** @description The codes. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StartedLogin"];
                };
            };
            /** @description An error of RFC 6749 §5.2 or RFC 8628 §3.5. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OAuthError"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    token: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/x-www-form-urlencoded": {
                    /** @description urn:ietf:params:oauth:grant-type:device_code, or refresh_token. */
                    grant_type: string;
                    /** @description How the program calls itself. */
                    client_id?: string;
                    /** @description That of the login. */
                    device_code?: string;
                    /** @description The one that came last. It is good once. */
                    refresh_token?: string;
                    /** @description At least 22 characters that nobody guesses: asking again with the same token and attempt is answered again; any other use of an old token ends the login. */
                    attempt?: string;
                };
            };
        };
        responses: {
            /** @description An agent's token, and the next refresh token. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Tokens"];
                };
            };
            /** @description An error of RFC 6749 §5.2 or RFC 8628 §3.5. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OAuthError"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
    endLogin: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/x-www-form-urlencoded": {
                    /** @description A refresh token of it. */
                    token: string;
                    /** @description refresh_token. */
                    token_type_hint?: string;
                    /** @description How the program calls itself. */
                    client_id?: string;
                };
            };
        };
        responses: {
            /** @description It is ended, or never was. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            /** @description An error of RFC 6749 §5.2 or RFC 8628 §3.5. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OAuthError"];
                };
            };
            default: components["responses"]["Error"];
        };
    };
}
