//! Streams from this side: opening and accepting them, moving their bodies, and letting them go.
//!
//! Invariant: whoever lets a stream go, finished or not, leaves nothing of it behind on either side.

use super::*;

impl Session {
    /// Opens a stream; the relay's side.
    ///
    /// # Errors
    /// When the session takes no new streams, has as many as it may, or the head is one that cannot cross.
    pub fn open(&mut self, head: RequestHead, now: Instant) -> Result<StreamId, Fault> {
        if !self.takes_streams(now) {
            return Err(self.no_streams().retry_safe());
        }
        if self.streams.len() >= self.limits.max_concurrent_streams as usize {
            let fault = Fault::new(
                Kind::UserOverLimit,
                Origin::Caller,
                "too many requests under way on this device",
            );
            return Err(fault.retry_safe());
        }
        if !wire::fits(&head.headers) || !head.target.as_str().starts_with('/') {
            let fault = Fault::new(
                Kind::InvalidRequest,
                Origin::Caller,
                "the request's target or header fields are too large or not ones that are forwarded",
            );
            return Err(fault.retry_safe());
        }
        self.newest += 1;
        self.opened_total += 1;
        let id = StreamId::new(self.newest)
            .ok_or_else(|| Fault::new(Kind::Internal, Origin::Relay, "stream ids have run out"))?;
        let mut stream = Box::new(Stream::new(self.limits.initial_window_bytes, now));
        stream.outgoing.state = if head.is_whole {
            Direction::Ended
        } else {
            Direction::Body
        };
        stream.outgoing.head = Some(Frame::RequestHead(Box::new(head)));
        self.streams.insert(id, stream);
        self.take_turn(id);
        let limits = self.stream_limits;
        self.expires(limits.map(|limits| after(now, limits.first_byte)));
        Ok(id)
    }

    /// Why no stream can be opened.
    fn no_streams(&self) -> Fault {
        match self.phase {
            Phase::Draining {
                is_asked_by_peer: false,
                ..
            } => Fault::new(Kind::Draining, Origin::Relay, "the relay is leaving"),
            Phase::Draining { .. } => {
                Fault::new(Kind::Draining, Origin::Agent, "the agent is leaving")
            }
            Phase::Greeting { .. } | Phase::Open | Phase::Closed(_) => {
                Fault::new(Kind::AgentOffline, Origin::Agent, "the agent has just left")
            }
        }
    }

    /// The next stream that the relay opened; the agent's side. `None` when the session is closed.
    pub fn poll_arrival(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(StreamId, Box<RequestHead>)>> {
        if let Some(arrival) = self.arrivals.pop_front() {
            return Poll::Ready(Some(arrival));
        }
        if matches!(self.phase, Phase::Closed(_)) {
            return Poll::Ready(None);
        }
        self.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends the head of the answer; the agent's side.
    pub(crate) fn answer(&mut self, id: StreamId, head: ResponseHead) -> Result<(), Fault> {
        if !wire::fits(&head.headers) || !wire::STATUSES.contains(&head.status.as_u16()) {
            return Err(self.refuse(
                id,
                "the upstream's answer has an impossible status or too many header fields",
            ));
        }
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Head {
            stream.outgoing.state = if head.is_whole {
                Direction::Ended
            } else {
                Direction::Body
            };
            stream.outgoing.head = Some(Frame::ResponseHead(Box::new(head)));
            self.take_turn(id);
        }
        Ok(())
    }

    /// Asks for the body that the caller holds back; the agent's side.
    pub(crate) fn ask_for_body(&mut self, id: StreamId) -> Result<(), Fault> {
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Head {
            stream.outgoing.wants_continue = true;
            self.take_turn(id);
        }
        Ok(())
    }

    /// Gives up a stream whose frames would make the peer end the whole session.
    fn refuse(&mut self, id: StreamId, message: &'static str) -> Fault {
        let fault = match self.side {
            Side::Relay => Fault::new(Kind::InvalidRequest, Origin::Caller, message),
            Side::Agent => Fault::new(Kind::UpstreamFailed, Origin::Upstream, message),
        };
        self.reset(id, fault.clone());
        fault
    }

    /// Queues what fits of `bytes` and leaves the rest in it.
    pub(crate) fn send_body(
        &mut self,
        id: StreamId,
        bytes: &mut Bytes,
        now: Instant,
    ) -> Result<(), Fault> {
        let stream = self.sendable(id)?;
        match stream.outgoing.state {
            _ if bytes.is_empty() => {}
            Direction::Body if stream.capacity() == 0 => {}
            Direction::Body => {
                stream.queue_body(bytes);
                stream.moved_at = now;
                self.take_turn(id);
            }
            // An `Ok` that takes nothing, ever, would keep the sender turning in a circle.
            Direction::Head | Direction::Ended => return Err(not_sending()),
        }
        Ok(())
    }

    /// Ends this side's direction.
    pub(crate) fn send_end(&mut self, id: StreamId, trailers: HeaderMap) -> Result<(), Fault> {
        if !wire::fits(&trailers) {
            return Err(self.refuse(id, "the trailers are too large"));
        }
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Body {
            stream.outgoing.state = Direction::Ended;
            stream.outgoing.end = Some(trailers);
            self.take_turn(id);
        }
        Ok(())
    }

    /// Takes the next piece of the peer's body, and gives credit back for it.
    pub(crate) fn poll_body(
        &mut self,
        id: StreamId,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Fault>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(forgotten()));
        };
        let polled = stream.poll_body(cx);
        if let Poll::Ready(Ok(Some(_))) = polled {
            stream.moved_at = now;
            if stream.is_credit_worth_a_frame() && !stream.is_window_due {
                stream.is_window_due = true;
                self.windows.push_back(id);
                self.wake_writer();
            }
        }
        polled
    }

    pub(crate) fn with_stream<T>(
        &mut self,
        id: StreamId,
        action: impl FnOnce(&mut Stream) -> T,
    ) -> Result<T, Fault> {
        let stream = self.streams.get_mut(&id).ok_or_else(forgotten)?;
        Ok(action(stream))
    }

    /// The stream with this id, if it has not failed.
    fn sendable(&mut self, id: StreamId) -> Result<&mut Stream, Fault> {
        let stream = self.streams.get_mut(&id).ok_or_else(forgotten)?;
        match &stream.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(stream),
        }
    }

    /// Ends a stream in both directions and tells the peer, unless it is over already.
    pub(crate) fn reset(&mut self, id: StreamId, fault: Fault) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        let is_known = stream.outgoing.is_head_written;
        stream.fail(fault.clone());
        if is_known {
            self.queue_reset(id, fault);
        }
    }

    /// The source of this side's body broke off: what was queued before that still goes out, and the reset behind it. So
    /// the peer has everything that there was, and cannot take it for whole.
    pub(crate) fn break_off(&mut self, id: StreamId, fault: Fault) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        if !stream.has_output() {
            return self.reset(id, fault);
        }
        stream.outgoing.state = Direction::Ended;
        stream.outgoing.end = None;
        stream.outgoing.broken = Some(fault);
        self.take_turn(id);
    }

    /// The handle is gone: whatever is not finished is given up, the peer is told, and the stream is forgotten.
    pub(crate) fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.is_over() {
            let is_answered = stream.outgoing.state == Direction::Ended;
            match self.side {
                Side::Relay if is_answered && stream.is_end_awaited => {
                    stream.is_detached = true;
                    stream.incoming.body.clear();
                    return;
                }
                Side::Relay => self.reset(id, Fault::caller_gone()),
                Side::Agent if !is_answered => self.reset(id, given_up()),
                Side::Agent if stream.has_output() => {
                    // The answer is complete but not written yet. What may still come of the request is of no use.
                    stream.is_detached = true;
                    stream.incoming.body.clear();
                    return;
                }
                Side::Agent => self.reset(id, request_unread()),
            }
        }
        self.forget(id);
        self.end_if_drained();
    }

    /// Drops a stream. Its id may still stand in a queue, where it is passed over; a peer that makes streams come and
    /// go while it does not read must not make those queues grow.
    pub(super) fn forget(&mut self, id: StreamId) {
        self.streams.remove(&id);
        let most = 2 * self.streams.len() + MAX_BATCH_FRAMES;
        for queue in [&mut self.windows, &mut self.small_turns, &mut self.turns] {
            if queue.len() > most {
                queue.retain(|id| self.streams.contains_key(id));
            }
        }
    }

    /// Entries of all queues together.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        let ids = self.windows.len() + self.small_turns.len() + self.turns.len();
        ids + self.control.len() + self.resets.len() + self.arrivals.len()
    }
}

/// What an agent says when it lets go of a request that it has not answered.
fn given_up() -> Fault {
    Fault::new(
        Kind::Internal,
        Origin::Agent,
        "the agent gave the request up",
    )
}

/// What an agent says after a whole answer to a request of which it will not read the rest. The relay stops sending.
pub(super) fn request_unread() -> Fault {
    Fault::new(
        Kind::UpstreamFailed,
        Origin::Upstream,
        "the upstream answered without reading the whole request",
    )
}

fn forgotten() -> Fault {
    Fault::new(Kind::Internal, Origin::Relay, "the stream is over")
}
