//! Frames of the session itself, from and to the generated types.
//!
//! Invariant: what an agent may say and what a relay may say are two sets, and neither says what is the other's.

use std::time::Duration;

use bytes::Bytes;
use c2l_proto::tunnel as proto;

use super::{Decoded, MAX_TOKEN_BYTES, check_limits, text};
use crate::{
    error::ProtocolError,
    frame::{Control, Hello, Limits, SecretToken, Welcome},
};

/// `None` for what an agent never sends.
pub(super) fn agent_control(control: Control) -> Option<proto::agent_control::Control> {
    use proto::agent_control::Control as Wire;
    Some(match control {
        Control::Hello(hello) => Wire::Hello(proto::Hello {
            protocol_version: hello.protocol_version,
            build: hello.build,
            device_name: hello.device_name,
            device_id: Bytes::copy_from_slice(&hello.device_id),
            capabilities: hello.capabilities,
            attempt: hello.attempt,
        }),
        Control::Heartbeat {
            sequence,
            acknowledged,
            received,
        } => Wire::Heartbeat(proto::Heartbeat {
            sequence,
            acknowledged,
            received,
        }),
        Control::GoAway {
            message,
            grace,
            still_opens,
        } => Wire::GoAway(go_away(message, grace, still_opens)),
        Control::Progress { mark, seen } => Wire::Progress(proto::Progress { mark, seen }),
        Control::TokenRenewal(token) => Wire::TokenRenewal(proto::TokenRenewal { token: token.0 }),
        Control::Welcome(_) | Control::TokenState { .. } => return None,
    })
}

/// `None` for what a relay never sends.
pub(super) fn relay_control(control: Control) -> Option<proto::relay_control::Control> {
    use proto::relay_control::Control as Wire;
    Some(match control {
        Control::Welcome(welcome) => Wire::Welcome(proto::Welcome {
            session_id: welcome.session_id,
            protocol_version: welcome.protocol_version,
            limits: Some(proto::Limits {
                max_body_frame_bytes: welcome.limits.max_body_frame_bytes,
                initial_window_bytes: welcome.limits.initial_window_bytes,
                max_concurrent_streams: welcome.limits.max_concurrent_streams,
                max_message_bytes: welcome.limits.max_message_bytes,
            }),
            heartbeat_interval_ms: milliseconds(welcome.heartbeat_interval),
            build: welcome.build,
            token_holds_ms: welcome.token_holds.map_or(0, long_milliseconds),
        }),
        Control::TokenState {
            is_accepted,
            holds,
            message,
        } => Wire::TokenState(proto::TokenState {
            is_accepted,
            holds_ms: long_milliseconds(holds),
            message,
        }),
        Control::Heartbeat {
            sequence,
            acknowledged,
            received,
        } => Wire::Heartbeat(proto::Heartbeat {
            sequence,
            acknowledged,
            received,
        }),
        Control::GoAway {
            message,
            grace,
            still_opens,
        } => Wire::GoAway(go_away(message, grace, still_opens)),
        Control::Progress { mark, seen } => Wire::Progress(proto::Progress { mark, seen }),
        Control::Hello(_) | Control::TokenRenewal(_) => return None,
    })
}

pub(super) fn from_agent_control(control: proto::agent_control::Control) -> Decoded<Control> {
    use proto::agent_control::Control as Wire;
    Ok(match control {
        Wire::Hello(hello) => Control::Hello(Box::new(Hello {
            protocol_version: hello.protocol_version,
            build: text(hello.build),
            device_name: hello.device_name, // an identity: judged as it was written, not mended
            device_id: <[u8; 16]>::try_from(&hello.device_id[..])
                .map_err(|_| ProtocolError::BadField { field: "device_id" })?,
            capabilities: hello.capabilities.into_iter().take(32).map(text).collect(),
            attempt: hello.attempt,
        })),
        Wire::Heartbeat(beat) => heartbeat(&beat),
        Wire::GoAway(away) => from_go_away(away),
        Wire::Progress(progress) => from_progress(&progress),
        Wire::TokenRenewal(renewal) if renewal.token.len() <= MAX_TOKEN_BYTES => {
            Control::TokenRenewal(SecretToken(renewal.token))
        }
        Wire::TokenRenewal(_) => return Err(ProtocolError::BadField { field: "token" }),
    })
}

pub(super) fn from_relay_control(control: proto::relay_control::Control) -> Decoded<Control> {
    use proto::relay_control::Control as Wire;
    Ok(match control {
        Wire::Welcome(welcome) => Control::Welcome(Box::new(from_welcome(welcome)?)),
        Wire::Heartbeat(beat) => heartbeat(&beat),
        Wire::GoAway(away) => from_go_away(away),
        Wire::Progress(progress) => from_progress(&progress),
        Wire::TokenState(state) => Control::TokenState {
            is_accepted: state.is_accepted,
            holds: Duration::from_millis(state.holds_ms),
            message: text(state.message),
        },
    })
}

fn from_welcome(welcome: proto::Welcome) -> Decoded<Welcome> {
    let bad = |field| ProtocolError::BadField { field };
    let limits = welcome.limits.ok_or(bad("limits"))?;
    let limits = Limits {
        max_body_frame_bytes: limits.max_body_frame_bytes,
        initial_window_bytes: limits.initial_window_bytes,
        max_concurrent_streams: limits.max_concurrent_streams,
        max_message_bytes: limits.max_message_bytes,
    };
    let heartbeat_interval = Duration::from_millis(u64::from(welcome.heartbeat_interval_ms));
    check_limits(&limits, heartbeat_interval).map_err(|(field, ..)| bad(field))?;
    Ok(Welcome {
        session_id: text(welcome.session_id),
        protocol_version: welcome.protocol_version,
        limits,
        heartbeat_interval,
        build: text(welcome.build),
        token_holds: Some(welcome.token_holds_ms)
            .filter(|holds| *holds > 0)
            .map(Duration::from_millis),
    })
}

fn heartbeat(beat: &proto::Heartbeat) -> Control {
    Control::Heartbeat {
        sequence: beat.sequence,
        acknowledged: beat.acknowledged,
        received: beat.received,
    }
}

fn from_progress(progress: &proto::Progress) -> Control {
    Control::Progress {
        mark: progress.mark,
        seen: progress.seen,
    }
}

fn go_away(message: String, grace: Duration, still_opens: bool) -> proto::GoAway {
    proto::GoAway {
        message,
        grace_ms: milliseconds(grace),
        still_opens,
    }
}

fn from_go_away(away: proto::GoAway) -> Control {
    Control::GoAway {
        message: text(away.message),
        grace: Duration::from_millis(u64::from(away.grace_ms)),
        still_opens: away.still_opens,
    }
}

fn long_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
