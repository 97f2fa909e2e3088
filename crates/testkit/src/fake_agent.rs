//! An agent that says whatever a test wants, to a real relay.

use std::net::SocketAddr;

use c2l_proto::tunnel::{
    AgentControl, AgentMessage, Hello, RelayMessage, TokenRenewal, TunnelRequest, TunnelResponse,
    agent_control, relay_control, tunnel_response, tunnel_service_client::TunnelServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataMap, transport::Channel};

use crate::{PATIENCE, within};

/// One call of `Connect`, driven by hand.
#[derive(Debug)]
pub struct FakeAgent {
    sender: mpsc::Sender<AgentMessage>,
    messages: Streaming<RelayMessage>,
    requests: Vec<TunnelRequest>,
}

impl FakeAgent {
    /// Opens the call; nothing is said yet.
    ///
    /// # Errors
    /// The status with which the relay refused.
    ///
    /// # Panics
    /// When there is no relay.
    pub async fn dial(relay: SocketAddr, token: &str) -> Result<Self, Status> {
        let value = format!("Bearer {token}").parse().expect("a header");
        Self::dial_with(relay, |metadata| {
            metadata.insert("authorization", value);
        })
        .await
    }

    /// Opens the call with these metadata alone; nothing is said yet.
    ///
    /// # Errors
    /// The status with which the relay refused.
    ///
    /// # Panics
    /// When there is no relay.
    pub async fn dial_with(
        relay: SocketAddr,
        describe: impl FnOnce(&mut MetadataMap),
    ) -> Result<Self, Status> {
        let channel = Channel::from_shared(format!("http://{relay}"))
            .expect("a URL")
            .connect()
            .await
            .expect("a connection");
        let (sender, receiver) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(receiver));
        describe(request.metadata_mut());
        let response = TunnelServiceClient::new(channel).connect(request).await?;
        Ok(Self {
            sender,
            messages: response.into_inner(),
            requests: Vec::new(),
        })
    }

    /// Opens the call, says hello and waits for the welcome.
    ///
    /// # Errors
    /// The status with which the relay refused.
    pub async fn connect(relay: SocketAddr, token: &str, device: &str) -> Result<Self, Status> {
        let mut agent = Self::dial(relay, token).await?;
        agent.hello(device).await;
        agent.welcome().await?;
        Ok(agent)
    }

    /// Says hello.
    pub async fn hello(&self, device: &str) {
        self.hello_of_attempt(device, [7; 16], 0).await;
    }

    /// Says hello as this attempt of this installation.
    pub async fn hello_of_attempt(&self, device: &str, installation: [u8; 16], attempt: u64) {
        let hello = Hello {
            protocol_version: 1,
            build: "fake".to_owned(),
            device_name: device.to_owned(),
            device_id: installation.to_vec().into(),
            capabilities: Vec::new(),
            attempt,
        };
        let control = AgentControl {
            control: Some(agent_control::Control::Hello(hello)),
        };
        self.send(AgentMessage {
            control: vec![control],
            responses: Vec::new(),
        })
        .await;
    }

    /// Waits for the welcome.
    ///
    /// # Errors
    /// The status with which the relay ended the call instead.
    pub async fn welcome(&mut self) -> Result<(), Status> {
        loop {
            let message = self.message().await?;
            let is_welcome = |c: &c2l_proto::tunnel::RelayControl| {
                matches!(c.control, Some(relay_control::Control::Welcome(_)))
            };
            if message.control.iter().any(is_welcome) {
                return Ok(());
            }
        }
    }

    /// Sends a fresh token.
    pub async fn renew(&self, token: &str) {
        let renewal = TokenRenewal {
            token: token.to_owned(),
        };
        let control = AgentControl {
            control: Some(agent_control::Control::TokenRenewal(renewal)),
        };
        self.send(AgentMessage {
            control: vec![control],
            responses: Vec::new(),
        })
        .await;
    }

    /// What became of a fresh token: whether it counts now, and why not.
    ///
    /// # Errors
    /// The status with which the relay ended the call instead.
    pub async fn token_state(&mut self) -> Result<(bool, String), Status> {
        loop {
            for control in self.message().await?.control {
                if let Some(relay_control::Control::TokenState(state)) = control.control {
                    return Ok((state.is_accepted, state.message));
                }
            }
        }
    }

    /// Sends a message. A relay that has hung up is no failure of the test.
    pub async fn send(&self, message: AgentMessage) {
        drop(self.sender.send(message).await);
    }

    /// Sends one frame of one stream.
    pub async fn respond(&self, stream_id: u64, frame: tunnel_response::Frame) {
        let response = TunnelResponse {
            stream_id,
            frame: Some(frame),
        };
        self.send(AgentMessage {
            control: Vec::new(),
            responses: vec![response],
        })
        .await;
    }

    /// The next message.
    ///
    /// # Errors
    /// The status with which the relay ended the call.
    pub async fn message(&mut self) -> Result<RelayMessage, Status> {
        let message = within(
            6 * PATIENCE,
            "a message from the relay",
            self.messages.message(),
        )
        .await?;
        message.ok_or_else(|| Status::ok("the call ended"))
    }

    /// The next stream frame.
    ///
    /// # Errors
    /// The status with which the relay ended the call.
    pub async fn request(&mut self) -> Result<TunnelRequest, Status> {
        while self.requests.is_empty() {
            self.requests = self.message().await?.requests;
        }
        Ok(self.requests.remove(0))
    }

    /// Reads until the relay ends the call, and says with which status.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.message().await {
                return status;
            }
        }
    }
}
