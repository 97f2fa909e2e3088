//! Counters for operators, in the Prometheus text format.
//!
//! Invariant: no label ever holds anything of a user: no name, no path, no credential.

use std::sync::atomic::{AtomicU64, Ordering};

use c2l_tunnel::Kind;

/// What the relay counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) sessions_total: AtomicU64,
    pub(crate) exchanges_whole: AtomicU64,
    pub(crate) bytes_toward_upstream: AtomicU64,
    pub(crate) bytes_toward_caller: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) key_fetches: AtomicU64,
    pub(crate) key_fetches_failed: AtomicU64,
    pub(crate) issuers_unreachable: AtomicU64,
    faults: [AtomicU64; Kind::ALL.len()],
}

impl Metrics {
    pub(crate) fn count_fault(&self, kind: Kind) {
        self.faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The whole page, with what others count.
    pub(crate) fn render(
        &self,
        sessions: usize,
        requests: usize,
        tasks: usize,
        hits: impl Iterator<Item = (&'static str, u64)>,
    ) -> String {
        let mut page = String::new();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rows = [
            (
                "c2l_sessions",
                "gauge",
                "Connected devices.",
                sessions as u64,
            ),
            (
                "c2l_requests_active",
                "gauge",
                "Requests under way.",
                requests as u64,
            ),
            (
                "c2l_connections",
                "gauge",
                "Connections on the public port.",
                get(&self.connections),
            ),
            (
                "c2l_tasks",
                "gauge",
                "Tasks of the runtime that have not ended.",
                tasks as u64,
            ),
            (
                "c2l_connections_total",
                "counter",
                "Connections accepted.",
                get(&self.connections_total),
            ),
            (
                "c2l_sessions_total",
                "counter",
                "Sessions opened.",
                get(&self.sessions_total),
            ),
            (
                "c2l_exchanges_whole_total",
                "counter",
                "Exchanges that ended whole.",
                get(&self.exchanges_whole),
            ),
            (
                "c2l_bytes_toward_upstream_total",
                "counter",
                "Request body bytes.",
                get(&self.bytes_toward_upstream),
            ),
            (
                "c2l_bytes_toward_caller_total",
                "counter",
                "Answer body bytes.",
                get(&self.bytes_toward_caller),
            ),
            (
                "c2l_panics_total",
                "counter",
                "Handlers that panicked.",
                get(&self.panics),
            ),
            (
                "c2l_key_fetches_total",
                "counter",
                "Fetches of an issuer's keys that gave some.",
                get(&self.key_fetches),
            ),
            (
                "c2l_key_fetches_failed_total",
                "counter",
                "Fetches of an issuer's keys that failed.",
                get(&self.key_fetches_failed),
            ),
            (
                "c2l_issuers_unreachable",
                "gauge",
                "Issuers whose keys could not be fetched last time.",
                get(&self.issuers_unreachable),
            ),
        ];
        for (name, kind, help, value) in rows {
            page.push_str(&format!(
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            ));
        }
        let name = "c2l_exchanges_failed_total";
        page.push_str(&format!(
            "# HELP {name} Exchanges that failed, by kind.\n# TYPE {name} counter\n"
        ));
        for kind in Kind::ALL {
            let value = get(&self.faults[kind as usize]);
            page.push_str(&format!("{name}{{kind=\"{kind}\"}} {value}\n"));
        }
        let name = "c2l_limited_total";
        page.push_str(&format!(
            "# HELP {name} What was refused because there was too much of it, by limit.\n# TYPE {name} counter\n"
        ));
        for (limit, value) in hits {
            page.push_str(&format!("{name}{{limit=\"{limit}\"}} {value}\n"));
        }
        page
    }
}
