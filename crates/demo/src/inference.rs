//! The life of an inference request, the same for all APIs: read, wait, answer.
//!
//! 1. `ask` reads the body and the model name; a bad one is refused in the shape of the API.
//! 2. `models` lets it wait for its slot, the load, and the first token.
//! 3. The answer is an error (`+status`), raw bytes (`+bytes`, `+pieces`), a stream (`stream`), or the whole text after
//!    the time that the stream would have taken.

use bytes::BytesMut;
use http::Request;
use hyper::body::Incoming;

use crate::Demo;
use crate::answer::{Answer, Refusal, Shape, with_body_unread};
use crate::anthropic::MessageEvents;
use crate::ask::{Ask, Unread, ask};
use crate::models::before_the_head;
use crate::native::{self, DIMENSIONS, Native, NativeLines, prompt_tokens};
use crate::openai::{self, Completion, CompletionChunks};
use crate::recorder::{Exchange, Stage};
use crate::responses::ResponseEvents;
use crate::stream::{Dialect, Lines, MID_STREAM_ERROR, Paced};
use crate::switches::{FaultKind, Model};
use crate::text::{Random, Text};

/// Which API a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Native(Native),
    Completion(Completion),
    Responses,
    Messages,
}

/// Which route asks for vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vectors {
    Embed,
    Embeddings,
    OpenAi,
}

impl Api {
    fn shape(self) -> Shape {
        match self {
            Self::Native(_) => Shape::Native,
            Self::Completion(_) | Self::Responses => Shape::OpenAi,
            Self::Messages => Shape::Anthropic,
        }
    }
}

/// Reads the body, or answers why it will not do. `None`: the caller has gone.
pub(crate) async fn read_ask(
    demo: &Demo,
    mut exchange: Exchange,
    request: Request<Incoming>,
    shape: Shape,
) -> Result<(Exchange, Ask), Answer> {
    match ask(&mut exchange, request, demo.config().body_limit_bytes).await {
        Ok(ask) => Ok((exchange, ask)),
        Err(unread) => Err(unread_answer(exchange, shape, unread)),
    }
}

pub(crate) fn unread_answer(exchange: Exchange, shape: Shape, unread: Unread) -> Answer {
    match unread {
        Unread::Refused(refusal) => exchange.refuse(shape, &refusal),
        Unread::Early(status) => {
            with_body_unread(exchange.refuse(shape, &Refusal::of_status(status)))
        }
        Unread::Gone => exchange.refuse(shape, &Refusal::bad_request("unexpected EOF")), // written to nobody
    }
}

/// Generate, chat, completions, responses, messages.
pub(crate) async fn infer(
    demo: Demo,
    exchange: Exchange,
    request: Request<Incoming>,
    api: Api,
) -> Answer {
    let (mut exchange, ask) = match read_ask(&demo, exchange, request, api.shape()).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let model = match ask
        .model()
        .and_then(|model| check(api, &ask).map(|()| model))
    {
        Ok(model) => model,
        Err(refusal) => return exchange.refuse(api.shape(), &refusal),
    };
    if let Some(unloads) = only_loads(api, &ask) {
        return only_load(&demo, exchange, &model, api, unloads).await;
    }
    let slot = demo.models().admit(&mut exchange, &model).await;
    if let Some(status) = model.switches.status {
        exchange.enter(Stage::Answering);
        return exchange.refuse(api.shape(), &Refusal::of_status(status));
    }
    if model.switches.is_raw() {
        return Paced::raw(exchange, slot, &model.switches);
    }
    let plan = Plan::new(&demo, &model, &ask);
    let streams = ask.stream.unwrap_or(matches!(api, Api::Native(_)));
    if streams {
        let dialect = plan.dialect(api, &model, &ask);
        let gap = demo.config().line_interval;
        let answer = Paced::lines(
            exchange,
            slot,
            &model.switches,
            Lines {
                dialect,
                text: plan.text,
                total: plan.tokens,
                gap,
            },
        );
        return answer;
    }
    let answer = at_once(&demo, exchange, &model, api, &ask, &plan).await;
    drop(slot);
    answer
}

/// What an API demands besides a model.
fn check(api: Api, ask: &Ask) -> Result<(), Refusal> {
    match api {
        Api::Messages if ask.max_tokens.is_none_or(|limit| limit <= 0) => Err(
            Refusal::bad_request("max_tokens is required and must be positive"),
        ),
        Api::Messages if ask.has_no_messages() => Err(Refusal::bad_request("messages is required")),
        Api::Completion(Completion::Chat) if ask.has_no_messages() => {
            Err(Refusal::bad_request("[] is too short - 'messages'"))
        }
        Api::Native(_) | Api::Completion(_) | Api::Responses | Api::Messages => Ok(()),
    }
}

/// Whether the request only loads (`false`) or unloads (`true`) the model.
fn only_loads(api: Api, ask: &Ask) -> Option<bool> {
    let says_nothing = match api {
        Api::Native(Native::Generate) => ask.said().is_empty(),
        Api::Native(Native::Chat) => ask.has_no_messages(),
        Api::Completion(_) | Api::Responses | Api::Messages => false,
    };
    says_nothing.then(|| ask.unloads())
}

async fn only_load(
    demo: &Demo,
    mut exchange: Exchange,
    model: &Model,
    api: Api,
    unloads: bool,
) -> Answer {
    let Api::Native(api) = api else {
        return exchange.refuse(api.shape(), &Refusal::bad_request("nothing to do"));
    };
    if unloads {
        demo.models().unload(&model.name);
    } else {
        let slot = demo.models().admit(&mut exchange, model).await;
        drop(slot);
    }
    let done_reason = if unloads { "unload" } else { "load" };
    exchange.native(|out| {
        NativeLines {
            api,
            model: model.name.clone(),
            prompt_tokens: 0,
            done_reason,
        }
        .only(out)
    })
}

/// The answer that is not streamed: silent for as long as the stream would take.
async fn at_once(
    demo: &Demo,
    mut exchange: Exchange,
    model: &Model,
    api: Api,
    ask: &Ask,
    plan: &Plan,
) -> Answer {
    let gap = model.switches.gap.unwrap_or(demo.config().line_interval);
    let fault = model
        .switches
        .fault
        .filter(|fault| fault.after <= plan.tokens);
    let tokens = fault.map_or(plan.tokens, |fault| fault.after);
    let time = gap.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::Error) => {
            exchange.fault_played();
            return exchange.refuse(
                api.shape(),
                &Refusal {
                    status: http::StatusCode::INTERNAL_SERVER_ERROR,
                    message: MID_STREAM_ERROR.to_owned(),
                },
            );
        }
        Some(kind) => before_the_head(&mut exchange, kind).await,
        None => {}
    }
    let mut text = String::new();
    (0..plan.tokens).for_each(|index| plan.text.push_token(index, &mut text));
    let write = |out: &mut BytesMut| plan.whole(api, model, ask, &text, out);
    if api.shape() == Shape::Native {
        exchange.native(write)
    } else {
        exchange.compatible(write)
    }
}

/// What one request will hear.
struct Plan {
    text: Text,
    tokens: u64,
    /// Cut off by the caller's own limit.
    is_limited: bool,
    prompt_tokens: u64,
    /// For ids: the same request has the same one.
    number: u64,
}

impl Plan {
    fn new(demo: &Demo, model: &Model, ask: &Ask) -> Self {
        let said = ask.said();
        let text = if model.switches.echo {
            Text::echo(&demo.config().name, &said)
        } else {
            Text::Paragraph
        };
        let natural = model
            .switches
            .lines
            .unwrap_or_else(|| text.natural_length(demo.config().default_tokens));
        let tokens = ask.limit().map_or(natural, |limit| natural.min(limit));
        Self {
            text,
            tokens,
            is_limited: tokens < natural,
            prompt_tokens: prompt_tokens(&said),
            number: Random::seeded(said.as_bytes()).below(999),
        }
    }

    fn native(&self, api: Native, model: &Model) -> NativeLines {
        let done_reason = if self.is_limited { "length" } else { "stop" };
        NativeLines {
            api,
            model: model.name.clone(),
            prompt_tokens: self.prompt_tokens,
            done_reason,
        }
    }

    fn chunks(&self, api: Completion, model: &Model, ask: &Ask) -> CompletionChunks {
        CompletionChunks {
            api,
            number: self.number,
            model: model.name.clone(),
            prompt_tokens: self.prompt_tokens,
            finish_reason: if self.is_limited { "length" } else { "stop" },
            include_usage: ask
                .stream_options
                .as_ref()
                .is_some_and(|options| options.include_usage),
        }
    }

    fn responses(&self, model: &Model, ask: &Ask) -> ResponseEvents {
        ResponseEvents {
            number: self.number,
            model: model.name.clone(),
            prompt_tokens: self.prompt_tokens,
            limit: ask.limit(),
            said: String::new(),
            sequence: 0,
        }
    }

    fn messages(&self, model: &Model) -> MessageEvents {
        let stop_reason = if self.is_limited {
            "max_tokens"
        } else {
            "end_turn"
        };
        MessageEvents {
            number: self.number,
            model: model.name.clone(),
            prompt_tokens: self.prompt_tokens,
            stop_reason,
        }
    }

    fn dialect(&self, api: Api, model: &Model, ask: &Ask) -> Box<dyn Dialect> {
        match api {
            Api::Native(api) => Box::new(self.native(api, model)),
            Api::Completion(api) => Box::new(self.chunks(api, model, ask)),
            Api::Responses => Box::new(self.responses(model, ask)),
            Api::Messages => Box::new(self.messages(model)),
        }
    }

    fn whole(&self, api: Api, model: &Model, ask: &Ask, text: &str, out: &mut BytesMut) {
        match api {
            Api::Native(api) => self.native(api, model).whole(text, self.tokens, out),
            Api::Completion(api) => self.chunks(api, model, ask).whole(text, self.tokens, out),
            Api::Responses => self.responses(model, ask).whole(text, self.tokens, out),
            Api::Messages => self.messages(model).whole(text, self.tokens, out),
        }
    }
}

/// The three embedding routes.
pub(crate) async fn embed(
    demo: Demo,
    exchange: Exchange,
    request: Request<Incoming>,
    route: Vectors,
) -> Answer {
    let shape = if route == Vectors::OpenAi {
        Shape::OpenAi
    } else {
        Shape::Native
    };
    let (mut exchange, ask) = match read_ask(&demo, exchange, request, shape).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let model = match ask.model() {
        Ok(model) => model,
        Err(mut refusal) => {
            if refusal.status == http::StatusCode::NOT_FOUND {
                refusal.message = refusal.message.replace('\'', "\"") + ", try pulling it first";
            }
            return exchange.refuse(shape, &refusal);
        }
    };
    let slot = demo.models().admit(&mut exchange, &model).await;
    if let Some(status) = model.switches.status {
        exchange.enter(Stage::Answering);
        return exchange.refuse(shape, &Refusal::of_status(status));
    }
    let dimensions = ask
        .dimensions
        .filter(|dimensions| *dimensions > 0)
        .map_or(DIMENSIONS, |dimensions| dimensions.min(DIMENSIONS));
    let answer = match route {
        Vectors::Embed => {
            exchange.native(|out| native::embed(&model.name, &ask.inputs(), dimensions, out))
        }
        Vectors::Embeddings => {
            exchange.native(|out| native::embeddings(&ask.said(), dimensions, out))
        }
        Vectors::OpenAi if ask.inputs().is_empty() => {
            exchange.refuse(shape, &Refusal::bad_request("invalid input"))
        }
        Vectors::OpenAi => {
            let as_base64 = ask.encoding_format.as_deref() == Some("base64");
            exchange.compatible(|out| {
                openai::embeddings(&model.name, &ask.inputs(), dimensions, as_base64, out)
            })
        }
    };
    drop(slot);
    answer
}
