//! Looks at the upstream the way a forwarded request reaches it: the same connection, the same `Host`, no `Origin`.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;

use super::{Forwarder, body::RequestBody, headers, pool::Connection};

/// No list of models is longer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

impl Forwarder {
    /// Gets `path`, answer included. The caller sets the time limit; dropping the future closes the connection.
    ///
    /// # Errors
    /// When the upstream cannot be reached, or what it says is no answer.
    pub(crate) async fn look(&self, path: &str) -> Result<(StatusCode, Bytes), Fault> {
        let mut connection = self.pool.connection().await?;
        let mut request = Request::get(path)
            .body(RequestBody::none(Arc::default()))
            .map_err(|_| broken("its path cannot be asked for"))?;
        *request.headers_mut() = headers::toward_upstream(HeaderMap::new(), &self.pool.authority);
        let mut pending = connection.send(request);
        let answer = poll_fn(|cx| moved(&mut connection, cx, |cx| pending.as_mut().poll(cx))).await;
        let answer = answer.map_err(|error| broken(&error.error().to_string()))?;
        let (head, mut body) = answer.into_parts();
        let mut read = BytesMut::new();
        while let Some(frame) =
            poll_fn(|cx| moved(&mut connection, cx, |cx| Pin::new(&mut body).poll_frame(cx))).await
        {
            let frame = frame.map_err(|error| broken(&error.to_string()))?;
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if read.len() > MAX_ANSWER_BYTES {
                return Err(broken("its answer is too long"));
            }
        }
        Ok((head.status, read.freeze()))
    }
}

/// Polls what waits for the connection, and the connection before and after it: nothing else moves it.
fn moved<T>(
    connection: &mut Connection,
    cx: &mut Context<'_>,
    mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    connection.poll_move(cx);
    waiting(cx)
}

fn broken(why: &str) -> Fault {
    let message = format!("no usable answer from the upstream: {why}");
    Fault::new(Kind::AgentProtocol, Origin::Upstream, message)
}
