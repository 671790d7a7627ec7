//! `buslane topic`: the verbs on topics, one file each.

mod alter;
mod create;
mod delete;
mod describe;
mod list;

use clap::Subcommand;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;

use crate::connection::{ClientArgs, Listener};
use crate::exit::{Failure, Outcome};

/// Create, list, describe, alter and delete topics
#[derive(Subcommand)]
pub enum TopicVerb {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    Alter(alter::AlterArgs),
    Delete(delete::DeleteArgs),
}

pub fn run(verb: TopicVerb) -> Outcome {
    match verb {
        TopicVerb::Create(args) => create::run(&args),
        TopicVerb::List(args) => list::run(&args),
        TopicVerb::Describe(args) => describe::run(&args),
        TopicVerb::Alter(args) => alter::run(&args),
        TopicVerb::Delete(args) => delete::run(&args),
    }
}

/// A connected admin client.
struct Admin {
    client: AdminClient<Listener>,
    listener: Listener,
    options: AdminOptions,
}

impl Admin {
    fn connect(args: &ClientArgs) -> Result<Self, Failure> {
        args.reach()?;
        let listener = Listener::default();
        let client = AdminClient::from_config_and_context(&args.finish(args.config()), listener.clone())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let options =
            AdminOptions::new().request_timeout(Some(args.timeout)).operation_timeout(Some(args.timeout));
        Ok(Self { client, listener, options })
    }
}

/// Waits for an admin request. librdkafka's own threads do the work, so any executor will do.
fn wait<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Failure::from)?;
    Ok(runtime.block_on(future))
}
