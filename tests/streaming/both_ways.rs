//! Both directions of one exchange move at the same time, and end separately.

use bytes::Bytes;
use c2l_testkit::{PlayedUpstream, upload};

use super::{Loop, uploads::post};

#[tokio::test]
async fn an_echo_comes_back_while_the_request_is_still_being_sent() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (pieces, body) = upload();
        let beginning = async {
            let (_head, mut connection) = upstream.request().await;
            connection.answer("application/x-ndjson").await;
            connection
        };
        let asking = caller.send(post(&caller, "/api/generate", body));
        let (mut connection, mut answer) = tokio::join!(beginning, asking);
        for number in 0..500 {
            let piece = Bytes::from(format!("{{\"number\":{number}}}\n"));
            pieces
                .send(piece.clone())
                .await
                .expect("a caller who sends");
            let heard = connection.chunk().await.expect("no tear").expect("no end");
            assert_eq!(heard, piece, "{name}: toward the upstream");
            connection.send_chunk(&heard).await;
            let back = answer.piece().await.expect("no tear").expect("no end");
            assert_eq!(back, piece, "{name}: toward the caller");
        }
        drop(pieces);
        assert_eq!(connection.chunk().await.expect("no tear"), None, "{name}");
        // One direction has ended; the other has not.
        connection.send_chunk(b"{\"done\":true}\n").await;
        let last = answer.piece().await.expect("no tear").expect("no end");
        assert_eq!(last, "{\"done\":true}\n", "{name}");
        connection.finish().await;
        assert_eq!(answer.piece().await.expect("no tear"), None, "{name}");
    }
}

#[tokio::test]
async fn both_directions_carry_megabytes_at_once() {
    const PIECES: u8 = 64;
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (pieces, body) = upload();
        let feeding = async move {
            for number in 0..PIECES {
                let piece = Bytes::from(vec![number; 64 * 1024]);
                pieces.send(piece).await.expect("a caller who sends");
            }
        };
        let echoing = async {
            let (_head, mut connection) = upstream.request().await;
            connection.answer("application/x-ndjson").await;
            while let Some(chunk) = connection.chunk().await.expect("no tear") {
                connection.send_chunk(&chunk).await;
            }
            connection.finish().await;
            connection
        };
        let asking = async {
            let mut answer = caller.send(post(&caller, "/api/generate", body)).await;
            answer.rest().await
        };
        let ((), _connection, (body, is_whole)) = tokio::join!(feeding, echoing, asking);
        assert!(is_whole, "{name}");
        let expected: Vec<u8> = (0..PIECES)
            .flat_map(|number| vec![number; 64 * 1024])
            .collect();
        assert!(body == expected, "{name}: {} bytes came back", body.len());
    }
}
