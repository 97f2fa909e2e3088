//! Reflection: people with grpcurl see the public services, and nothing else.

use c2l_testkit::TestRelay;
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use super::{PUBLIC, channel};

/// What may be listed: ours, and the two standard ones.
fn assert_public(mut names: Vec<String>) {
    names.sort();
    for service in PUBLIC.iter().chain(&["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }
    let others = names
        .iter()
        .filter(|name| !name.starts_with("grpc.reflection."))
        .count();
    assert_eq!(others, 3, "{names:?}");
}

/// One question in version 1.
async fn ask(
    relay: &TestRelay,
    question: v1::server_reflection_request::MessageRequest,
) -> Result<v1::server_reflection_response::MessageResponse, tonic::Status> {
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(channel(relay).await);
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let answer = answers.into_inner().message().await?.expect("an answer");
    Ok(answer.message_response.expect("something in it"))
}

fn list() -> v1::server_reflection_request::MessageRequest {
    v1::server_reflection_request::MessageRequest::ListServices(String::new())
}

#[tokio::test]
async fn ops_04_reflection_v1_lists_public_services_only() {
    use v1::server_reflection_response::MessageResponse;
    let relay = TestRelay::start().await;
    let answer = ask(&relay, list()).await.expect("an answer");
    let MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("not a list: {answer:?}");
    };
    assert_public(
        listed
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
    );
}

#[tokio::test]
async fn ops_04_reflection_v1alpha_lists_public_services_only() {
    use v1alpha::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let relay = TestRelay::start().await;
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&relay).await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers.expect("answers").into_inner().message().await;
    let answer = answer.expect("not an error").expect("one answer");
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("not a list: {answer:?}");
    };
    assert_public(
        listed
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
    );
}

#[tokio::test]
async fn reflection_describes_each_public_service() {
    use v1::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let relay = TestRelay::start().await;
    for service in PUBLIC.iter().chain(&["grpc.health.v1.Health"]) {
        let question = MessageRequest::FileContainingSymbol((*service).to_owned());
        let answer = ask(&relay, question).await.expect("an answer");
        let MessageResponse::FileDescriptorResponse(files) = answer else {
            panic!("{service} is not described: {answer:?}");
        };
        assert!(!files.file_descriptor_proto.is_empty(), "{service}");
    }
    let question = MessageRequest::FileContainingSymbol("c2l.secret.v1.Service".to_owned());
    let unknown = ask(&relay, question).await;
    let is_told = match &unknown {
        Ok(MessageResponse::ErrorResponse(_)) => true,
        Err(status) => status.code() == Code::NotFound,
        Ok(_) => false,
    };
    assert!(is_told, "{unknown:?}");
}

#[tokio::test]
async fn ops_04_reflection_can_be_switched_off() {
    let relay = TestRelay::start_with(|config| config.is_reflection_served = false).await;
    let refused = ask(&relay, list()).await.expect_err("not served");
    assert_eq!(refused.code(), Code::Unimplemented);
}
