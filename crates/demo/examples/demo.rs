//! The demonstration model as a program of its own, for clients and scripts in other languages:
//! `cargo run -p c2l-demo --example demo -- 127.0.0.1:11434 127.0.0.1:11435` (the model, the side listener).
//!
//! It runs until it is killed.

use c2l_demo::{Demo, DemoConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let model = TcpListener::bind(address("127.0.0.1:11434")).await?;
    let control = TcpListener::bind(address("127.0.0.1:0")).await?;
    #[expect(clippy::print_stdout, reason = "a script reads the addresses")]
    {
        println!("{} {}", model.local_addr()?, control.local_addr()?);
    }
    let demo = Demo::new(DemoConfig::default());
    let never = CancellationToken::new();
    tokio::join!(
        demo.serve(model, never.clone()),
        demo.serve_control(control, never)
    );
    Ok(())
}
