//! Looks up where a host is, and connects there.
//!
//! Invariant: what was asked outlives the attempt that asked it. A name server that is dead and stands first makes every
//! answer take longer than an attempt lasts, and each attempt would ask in vain.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    sync::Mutex,
    task::{JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};

/// How long one attempt to connect, or to look up a name, may take before a fresh one is made: when a dead path comes
/// back, the system's own next try may be many seconds away.
pub(super) const SLICE: Duration = Duration::from_secs(2);
/// How long connecting may take in all. Less than what makes a way count as blocked: where nobody answers there is
/// nothing that blocks, and the other way would meet the same.
const LIMIT: Duration = Duration::from_secs(3);
/// Most questions at once.
const MAX_ASKED: usize = 4;

type Answer = io::Result<Vec<SocketAddr>>;

/// The questions that wait for an answer. They end with this.
#[derive(Debug, Default)]
pub(super) struct Names {
    asked: Mutex<JoinSet<Answer>>,
}

impl Names {
    /// A connection to this host, always the same one.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let deadline = Instant::now() + LIMIT;
        let found = timeout_at(deadline, self.look_up(host, port)).await;
        let places = found.map_err(|_| late("its name is not found"))??;
        let attempts = async {
            loop {
                let attempt = timeout(SLICE, TcpStream::connect(places.as_slice()));
                if let Ok(connected) = attempt.await {
                    return connected;
                }
            }
        };
        let connected = timeout_at(deadline, attempts).await;
        connected.map_err(|_| late("nobody answers"))?
    }

    async fn look_up(&self, host: &str, port: u16) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut asked = self.asked.lock().await;
        // Of the earlier questions a good answer counts, and an error says nothing of now.
        while let Some(answer) = asked.try_join_next() {
            if let Ok(places) = flat(answer) {
                *asked = JoinSet::new();
                return Ok(places);
            }
        }
        loop {
            if asked.len() < MAX_ASKED {
                let place = (host.to_owned(), port);
                asked.spawn(async move { Ok(lookup_host(place).await?.collect()) });
            }
            // Dropping this loses nothing: what was asked stays.
            while let Ok(Some(answer)) = timeout(SLICE, asked.join_next()).await {
                let answer = flat(answer);
                if answer.is_ok() {
                    // The rest must not be taken for news when it is old.
                    *asked = JoinSet::new();
                }
                if answer.is_ok() || asked.is_empty() {
                    return answer;
                }
            }
        }
    }
}

fn flat(answer: Result<Answer, JoinError>) -> Answer {
    answer.map_err(io::Error::other)?
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {LIMIT:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question that is answered after this long.
    async fn ask(names: &Names, after: Duration, answer: fn() -> Answer) {
        let mut asked = names.asked.lock().await;
        asked.spawn(async move {
            tokio::time::sleep(after).await;
            answer()
        });
    }

    #[tokio::test]
    async fn an_address_is_not_asked_for() {
        let names = Names::default();
        let places = names.look_up("::1", 7).await.expect("an address");
        assert_eq!(places, ["[::1]:7".parse().expect("an address")]);
        assert!(names.asked.lock().await.is_empty());
    }

    #[tokio::test]
    async fn an_answer_to_an_earlier_attempt_is_taken_and_an_error_is_not() {
        fn place() -> SocketAddr {
            SocketAddr::from(([192, 0, 2, 1], 7))
        }
        let names = Names::default();
        ask(&names, Duration::ZERO, || Err(io::ErrorKind::Other.into())).await;
        ask(&names, Duration::from_millis(50), || Ok(vec![place()])).await;
        let too_long = "n".repeat(300); // an error at once, and nobody is asked
        let places = names.look_up(&too_long, 7).await;
        assert_eq!(places.expect("its address"), [place()]);
        assert!(names.asked.lock().await.is_empty(), "the rest is forgotten");
    }
}
