//! From the peer: what a message does to a session and its streams.
//!
//! Invariant: every frame is judged against the state it meets before it changes anything. A frame for a stream that has
//! just ended is dropped, since the peer could not know; any other that does not fit is a [`ProtocolError`].

use std::time::Instant;

use super::*;

impl Session {
    /// Takes in one message. Returns the control frames that need more than bookkeeping: hello, welcome, go-away and
    /// token renewal, at most one of each; of several in one message the last one counts.
    ///
    /// # Errors
    /// When the peer broke the protocol; the caller then closes the session with that reason.
    pub fn receive(&mut self, batch: Batch, now: Instant) -> Result<Vec<Control>, ProtocolError> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Ok(Vec::new());
        }
        self.liveness.heard_at = now;
        self.liveness.received += 1;
        let mut notable: Vec<Control> = Vec::new();
        for control in batch.control {
            if matches!(self.phase, Phase::Closed(_)) {
                break; // by a heartbeat before this one
            }
            if let Some(control) = self.receive_control(control, now)? {
                // Each may be worth a signature check: a message full of them is not worth more than one.
                notable.retain(|earlier| earlier.name() != control.name());
                notable.push(control);
            }
        }
        for (id, frame) in batch.frames {
            match self.phase {
                Phase::Open | Phase::Draining { .. } => self.receive_frame(id, frame, now)?,
                Phase::Closed(_) => break, // by a frame before this one
                Phase::Greeting { .. } => {
                    let frame = frame.name();
                    return Err(ProtocolError::Unexpected { frame });
                }
            }
        }
        self.end_if_drained();
        Ok(notable)
    }

    fn receive_control(
        &mut self,
        control: Control,
        now: Instant,
    ) -> Result<Option<Control>, ProtocolError> {
        let is_greeting = matches!(self.phase, Phase::Greeting { .. });
        match (&control, self.side) {
            (
                Control::Heartbeat {
                    sequence, received, ..
                },
                _,
            ) if !is_greeting => {
                self.liveness.heard = self.liveness.heard.max(*sequence);
                self.note_told(*received, now);
                return Ok(None);
            }
            (
                Control::GoAway {
                    grace, still_opens, ..
                },
                _,
            ) if !is_greeting => {
                let was_asked = matches!(
                    self.phase,
                    Phase::Draining {
                        is_asked_by_peer: true,
                        ..
                    }
                );
                let until = after(now, *grace);
                let may_open = *still_opens && self.side == Side::Agent;
                self.drain(until, may_open.then_some(until), true);
                if was_asked {
                    return Ok(None); // said already; once is enough for those who watch
                }
            }
            (Control::Progress { mark, seen }, _) if !is_greeting => {
                self.receive_progress(*mark, *seen, now)?;
                return Ok(None);
            }
            (Control::Hello(hello), Side::Relay) if is_greeting && !self.is_hello_heard => {
                self.is_hello_heard = true;
                if hello.answers_marks() {
                    self.pace.begin();
                }
            }
            (Control::Welcome(welcome), Side::Agent) if is_greeting => self.keep_to(welcome, now),
            (Control::TokenRenewal(_), Side::Relay) | (Control::TokenState { .. }, Side::Agent)
                if !is_greeting => {}
            _ => {
                return Err(ProtocolError::Unexpected {
                    frame: control.name(),
                });
            }
        }
        Ok(Some(control))
    }

    /// A mark is said back before anything else; one that comes back may let bulk go on.
    fn receive_progress(
        &mut self,
        mark: u64,
        seen: u64,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if self.side == Side::Agent {
            self.pace.begin(); // a relay says so to an agent that does
        }
        let goes_on = self.pace.saw(seen, now)?;
        if mark > 0 {
            self.owed_mark = mark;
        }
        if goes_on || mark > 0 {
            self.wake_writer();
        }
        Ok(())
    }

    fn receive_frame(
        &mut self,
        id: StreamId,
        frame: Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let frame = match frame {
            Frame::RequestHead(head) if self.side == Side::Agent => {
                return self.receive_request(id, head, now);
            }
            other => other,
        };
        if id.get() > self.newest {
            return Err(ProtocolError::UnknownStream(id.get()));
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(()); // it has just ended here; the peer could not know
        };
        if !stream.outgoing.is_head_written {
            return Err(ProtocolError::UnknownStream(id.get())); // guessed: the peer was not told of it yet
        }
        if let Frame::Window(credit_bytes) = frame {
            stream.receive_window(id, credit_bytes)?;
            stream.moved_at = now;
            return Ok(());
        }
        if stream.fault.is_some() {
            return Ok(()); // the same: our reset is on its way
        }
        match frame {
            Frame::Body(bytes) => {
                stream.receive_body(id, bytes, self.limits.max_body_frame_bytes)?;
                stream.moved_at = now;
            }
            Frame::End(trailers) => {
                stream.receive_end(id, trailers)?;
                stream.moved_at = now;
                if stream.is_detached && stream.is_over() {
                    self.forget(id);
                }
            }
            Frame::Reset(fault) => {
                if self.side == Side::Relay && stream.incoming.state == Direction::Ended {
                    stream.stop_sending(); // the answer is whole; the agent wants no more of the request
                } else {
                    stream.fail(fault);
                }
                if stream.is_detached {
                    self.forget(id);
                }
            }
            Frame::ResponseHead(head) if self.side == Side::Relay => {
                if stream.incoming.state != Direction::Head {
                    return Err(stream.wrong_state(id, "response head"));
                }
                stream.incoming.state = if head.is_whole {
                    Direction::Ended
                } else {
                    Direction::Body
                };
                stream.incoming.head = Some(head);
                stream.moved_at = now;
                stream.wake_reader();
                // The gap limit may be shorter than what the driver sleeps for.
                self.expires(self.stream_limits.map(|limits| after(now, limits.gap)));
            }
            Frame::Continue if self.side == Side::Relay => {
                if stream.incoming.state == Direction::Head {
                    stream.incoming.is_continue_asked = true;
                    stream.wake_reader();
                }
            }
            Frame::RequestHead(_) | Frame::ResponseHead(_) | Frame::Continue => {
                return Err(ProtocolError::Unexpected {
                    frame: frame.name(),
                });
            }
            Frame::Window(_) => {}
        }
        Ok(())
    }

    fn receive_request(
        &mut self,
        id: StreamId,
        head: Box<RequestHead>,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if id.get() <= self.newest {
            return Err(ProtocolError::StreamReused(id.get()));
        }
        self.newest = id.get();
        // The relay keeps the limit; twice as many allow for those that are over there and still being written here.
        if self.streams.len() >= 2 * self.limits.max_concurrent_streams as usize {
            let fault = Fault::new(
                Kind::Overloaded,
                Origin::Agent,
                "the agent has too many requests under way",
            );
            self.queue_reset(id, fault.retry_safe());
            return Ok(());
        }
        let mut stream = Box::new(Stream::new(self.limits.initial_window_bytes, now));
        stream.outgoing.is_head_written = true; // the peer knows this stream: a reset must reach it
        stream.incoming.state = if head.is_whole {
            Direction::Ended
        } else {
            Direction::Body
        };
        self.streams.insert(id, stream);
        self.opened_total += 1;
        self.arrivals.push_back((id, head));
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
        Ok(())
    }
}
