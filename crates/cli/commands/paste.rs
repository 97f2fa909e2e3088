//! The block that `c2l dev` prints: every line of it works as it stands when pasted into a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use c2l_auth::Secret;

use super::probe::Model;

/// What the block is made of.
#[derive(Debug)]
pub(super) struct Paste<'a> {
    pub(super) relay: String,
    /// One line about the upstream.
    pub(super) upstream: String,
    pub(super) key: &'a Secret,
    /// Where the page takes the one-time link, below the relay's URL.
    pub(super) sign_in: String,
    pub(super) model: Model,
}

/// The relay's URL as seen from this machine.
pub(super) fn local_url(address: SocketAddr) -> String {
    format!("http://{}", from_here(address))
}

/// A listening address as this machine itself reaches it.
pub(crate) fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Paste<'_> {
    pub(super) fn render(&self) -> String {
        let Self {
            relay,
            upstream,
            key,
            sign_in,
            ..
        } = self;
        let key = key.expose();
        let curl = self.curl();
        format!(
            "\
c2l dev is ready. Ctrl-C stops it.

  relay     {relay}
  upstream  {upstream}

  # in a browser, once and within 15 minutes
  {relay}{sign_in}

  # any Ollama client, any container
  export OLLAMA_HOST={relay}/k/{key}

  # any OpenAI client
  export OPENAI_BASE_URL={relay}/v1 OPENAI_API_KEY={key}

  # try it
  {curl}
"
        )
    }

    /// Names of models have no quotes in them, so the single ones hold.
    fn curl(&self) -> String {
        let (relay, key) = (&self.relay, self.key.expose());
        let body = |model: &str| {
            format!(
                r#"-d '{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}]}}'"#
            )
        };
        match &self.model {
            Model::Ollama(name) => format!("curl {relay}/k/{key}/api/chat {}", body(name)),
            Model::OpenAi(name) => format!(
                "curl {relay}/k/{key}/v1/chat/completions -H 'content-type: application/json' {}",
                body(name)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_reads_like_this() {
        let paste = Paste {
            relay: local_url("127.0.0.1:8080".parse().unwrap()),
            upstream: "http://127.0.0.1:11434 (Ollama 0.33.0)".to_owned(),
            key: &Secret::new("aaa.bbb.ccc"),
            sign_in: "/#/signin?link=xyz".to_owned(),
            model: Model::Ollama("tiny".to_owned()),
        };
        assert_eq!(
            paste.render(),
            r#"c2l dev is ready. Ctrl-C stops it.

  relay     http://127.0.0.1:8080
  upstream  http://127.0.0.1:11434 (Ollama 0.33.0)

  # in a browser, once and within 15 minutes
  http://127.0.0.1:8080/#/signin?link=xyz

  # any Ollama client, any container
  export OLLAMA_HOST=http://127.0.0.1:8080/k/aaa.bbb.ccc

  # any OpenAI client
  export OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=aaa.bbb.ccc

  # try it
  curl http://127.0.0.1:8080/k/aaa.bbb.ccc/api/chat -d '{"model":"tiny","messages":[{"role":"user","content":"hello"}]}'
"#
        );
    }

    #[test]
    fn an_open_address_is_shown_as_loopback() {
        for (address, url) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            assert_eq!(local_url(address.parse().unwrap()), url);
        }
    }
}
