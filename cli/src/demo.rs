//! `gatewright demo`: a fleet on real input, told as it happens, every claim checked.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing JSON by a name panics nowhere: what is not there is null"
)]

mod denied;
mod load;
mod outside;
mod runs;
mod stage;
mod summary;
mod web;

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use futures::FutureExt as _;

use crate::{
    context::Context,
    exit::Exit,
    out::span,
    private::{Kind, Place, Plan, PrivateFleet},
    signal,
};
use stage::Stage;
use web::Web;

/// Show a fleet at work: start a private one, submit real runs, kill a worker, and check what is shown.
///
/// Takes less than a minute; exits with 1 when something is not as told.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The data directory; one that an earlier demo left is made anew
    #[arg(long, default_value = ".gatewright/demo", value_name = "DIR")]
    data: PathBuf,
    /// How many workers
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=20))]
    workers: u8,
    /// Leave the fleet running when the story is told, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// The policy of the demo: the default one, with the web server of the demo as the one place that may be reached.
const POLICY: &str = r#"mode = "enforce"
default = "deny"
auto_allow = ["runtime.noop", "runtime.echo", "egress.request"]

[tool_modes]
"runtime.echo" = "shadow"

[domains]
allow = ["127.0.0.1", "*.example.com"]

[egress]
address_exceptions = ["127.0.0.1/32"]
"#;

/// Tells the story.
pub async fn run(context: Context, args: DemoArgs) -> Result<Exit> {
    let (shutdown, hurry) = signal::shutdown_and_hurry();
    let began = Instant::now();
    let place = Place::fresh(&args.data, Kind::Demo)?;
    let plan = Plan {
        workers: args.workers.into(),
        services: Vec::new(),
        concurrency: 64,
        first_policy: POLICY.to_owned(),
        durable: false,
    };
    context.out.heading(
        "Gatewright: a fleet in which no tool call executes without passing the policy gate",
    )?;
    context.out.line("")?;
    let say = |text: &str| eprintln!("   … {text}");
    let starting = Box::pin(PrivateFleet::start(place, &plan, say));
    let Some(private) = shutdown.run_until_cancelled(starting).await else {
        return Ok(Exit::Ok);
    };
    let mut stage = Stage::new(context.out, private?);
    let told = tokio::select! {
        told = story(&mut stage, &args, began) => told.map_err(|error| {
            // What ended without being asked to is most often why the story broke.
            match stage.private.first_end().now_or_never() {
                Some(ended) => error.context(ended.to_string()),
                None => error,
            }
        }),
        () = shutdown.cancelled() => Err(anyhow!("stopped before the end of the story")),
    };
    if args.keep && told.is_ok() && !shutdown.is_cancelled() {
        eprintln!("the fleet goes on until Ctrl-C");
        tokio::select! {
            ended = stage.private.first_end() => eprintln!("gatewright: {ended}"),
            () = shutdown.cancelled() => {}
        }
    }
    let wrong = stage.leave(&hurry).await;
    told?;
    if wrong > 0 {
        bail!("{wrong} of the things that were told are not so; see above");
    }
    Ok(Exit::Ok)
}

async fn story(stage: &mut Stage, args: &DemoArgs, began: Instant) -> Result<()> {
    let roles = stage.private.roles().join(", ");
    stage.say(&format!(
        "Started after {}, in `{}`: a nats-server and a Postgres of its own, and the roles {roles}.",
        span(began.elapsed()),
        args.data.display()
    ))?;
    let web = Web::serve().await?;

    runs::allowed(stage).await?;
    runs::of_several_steps(stage).await?;
    let denied = denied::by_its_token(stage).await?;
    denied::in_shadow_mode(stage).await?;
    denied::in_quarantine(stage).await?;
    outside::reached(stage, &web).await?;
    outside::out_of_scope(stage, &web).await?;
    outside::written_to_after_approval(stage, &web).await?;
    runs::not_valid(stage).await?;
    load::many_at_once(stage).await?;
    load::a_worker_dies(stage).await?;
    summary::tables(stage, &denied).await?;
    summary::chain(stage).await?;
    summary::how_to_go_on(stage, args.keep)?;
    stage.end(began)
}
