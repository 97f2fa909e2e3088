//! What to do about a failure: one sentence for each kind.

use c2l_agent::{
    Refusal,
    probe::{Cause, Failure},
};

/// The fix.
pub(super) fn on(failure: &Failure) -> &'static str {
    match failure.cause {
        Cause::Name => "check the host in --relay, and this machine's DNS servers",
        Cause::Unreachable => {
            "check the host and port in --relay, that the relay runs, and that no firewall is in between; where only a proxy leads out, give --proxy"
        }
        Cause::ProxyUnreachable => {
            "check the address in --proxy (or HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), or go without with --proxy none"
        }
        Cause::ProxyRefused => {
            "do what the proxy says: put user and password into its address, sign in with a browser, or ask whoever runs it to allow the relay's host and port"
        }
        Cause::CertificateTime => {
            "renew the relay's certificate, or set this machine's clock if that is wrong"
        }
        Cause::CertificateName => {
            "use a name in --relay that the certificate is for, or give the relay a certificate for this name"
        }
        Cause::CertificateUntrusted => {
            "give the authority that signed it with --ca-file; where a company's proxy signs, that is the proxy's authority"
        }
        Cause::Tls => "check that --relay names a port that speaks TLS; the relay's log says more",
        Cause::Blocked => {
            "ask whoever runs the proxy or firewall on the way to pass this, or check that --relay really is a c2l relay"
        }
        Cause::Refused(Refusal::Unauthenticated) => {
            "get a token from this very relay (`c2l token issue --kind agent`) and put it where this one is"
        }
        Cause::Refused(Refusal::Forbidden) => {
            "get a token that allows this device, or show the certificate that the relay asks for with --client-cert"
        }
        Cause::Refused(Refusal::ProtocolVersion) => "update the older one of relay and agent",
        Cause::Relay => "look into the relay's log, and try again",
        Cause::UpstreamUnreachable => {
            "start Ollama with `ollama serve`, or give its address with --upstream"
        }
        Cause::Upstream => "check that --upstream is the address of Ollama, or of a server like it",
        Cause::Timeout => {
            "try again; if it stays so, something on the way drops what it does not like: ask whoever runs the network"
        }
        Cause::System => "look into this machine's log",
    }
}
