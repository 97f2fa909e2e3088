//! A WebSocket echo with the bridge's own settings, for suites of test cases that send text and binary messages:
//! `cargo run -p c2l-bridge --example echo`. It prints its address and runs until it is killed.
//!
//! The bridge itself refuses text; what is shared is everything below: the library, its limits, its configuration.

use std::{future::poll_fn, io, pin::Pin};

use futures_core::Stream as _;
use futures_sink::Sink as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{Error, ServerBuilder, WebSocketStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "a script reads the address")]
    {
        println!("{}", listener.local_addr()?);
    }
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A peer who breaks the protocol is what is tested; it is told so by the close.
            drop(serve(connection).await);
        });
    }
}

async fn serve(connection: TcpStream) -> Result<(), Error> {
    let (limits, config) = c2l_bridge::settings();
    let builder = ServerBuilder::new().limits(limits).config(config);
    let (_request, mut socket) = builder.accept(connection).await?;
    let echoed = echo(&mut socket).await;
    poll_fn(|cx| Pin::new(&mut socket).poll_close(cx)).await?;
    echoed
}

async fn echo(socket: &mut WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await?;
            Pin::new(&mut *socket).start_send(message)?;
        }
        // Pongs and closes are queued by the library.
        poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await?;
    }
    Ok(())
}
