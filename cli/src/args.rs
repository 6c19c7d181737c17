//! The command line: which nouns there are, and where each is.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    approval, audit, bench, capability, completions,
    context::Context,
    demo, dev, dispatcher, dlq, doctor, exit,
    exit::Exit,
    health, key, logs, migrate, nats_config,
    out::{Out, OutFlags},
    policy, principal, projector, provision, quota, run, schema,
    settings::{CommonFlags, Flags, RoleFlags, Settings, WorkerFlags},
    tool, worker,
};

/// A fleet of workers for AI agents' runs, in which no tool call executes without passing the policy gate.
#[derive(Debug, Parser)]
#[command(name = "gatewright", version, after_help = exit::HELP, max_term_width = 110)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    out: OutFlags,
    #[command(subcommand)]
    noun: Noun,
}

/// Every noun: roles first, then what operators ask about.
#[derive(Debug, Subcommand)]
#[expect(
    missing_docs,
    reason = "a noun's words are with its arguments, where clap takes them from"
)]
pub enum Noun {
    Dev(dev::DevArgs),
    Demo(demo::DemoArgs),
    Dispatcher(dispatcher::DispatcherArgs),
    Worker(worker::WorkerArgs),
    Projector(projector::ProjectorArgs),
    Migrate(migrate::MigrateArgs),
    NatsConfig(nats_config::NatsConfigArgs),
    Provision(provision::ProvisionArgs),
    Run(run::RunArgs),
    Policy(policy::PolicyArgs),
    Capability(capability::CapabilityArgs),
    Principal(principal::PrincipalArgs),
    Approval(approval::ApprovalArgs),
    Key(key::KeyArgs),
    Quota(quota::QuotaArgs),
    Dlq(dlq::DlqArgs),
    Audit(audit::AuditArgs),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Bench(bench::BenchArgs),
    Tool(tool::ToolArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Checks the settings and starts the log.
    pub fn prepare(self) -> Result<(Context, Noun)> {
        let flags = Flags {
            common: self.common,
            role: self.noun.role_flags(),
            worker: self.noun.worker_flags(),
        };
        let settings =
            Settings::read(&flags).map_err(|bad| exit::Failure::usage(bad.to_string()))?;
        // A command says itself that it cannot reach a server, and nobody needs to know that it closes its connection.
        let level = if self.noun.is_role() {
            "info"
        } else {
            "warn,gatewright_bus::fleet=error"
        };
        logs::start(settings.log, level);
        let out = Out::new(self.out);
        Ok((Context { settings, out }, self.noun))
    }
}

impl Noun {
    /// Does what was asked.
    pub async fn run(self, context: Context) -> Result<Exit> {
        match self {
            Self::Dev(args) => Box::pin(dev::run(context, args)).await,
            Self::Demo(args) => Box::pin(demo::run(context, args)).await,
            Self::Dispatcher(args) => Box::pin(dispatcher::run(context, args)).await,
            Self::Worker(args) => Box::pin(worker::run(context, args)).await,
            Self::Projector(args) => Box::pin(projector::run(context, args)).await,
            Self::Migrate(args) => migrate::run(context, args).await,
            Self::NatsConfig(args) => nats_config::run(&context, &args),
            Self::Provision(args) => provision::run(context, args).await,
            Self::Run(args) => run::run(context, args).await,
            Self::Policy(args) => policy::run(context, args).await,
            Self::Capability(args) => capability::run(context, args).await,
            Self::Principal(args) => principal::run(context, args).await,
            Self::Approval(args) => approval::run(context, args).await,
            Self::Key(args) => key::run(context, args).await,
            Self::Quota(args) => quota::run(context, args).await,
            Self::Dlq(args) => dlq::run(context, args).await,
            Self::Audit(args) => audit::run(context, args).await,
            Self::Doctor(args) => doctor::run(context, args).await,
            Self::Health(_) => health::run(),
            Self::Bench(args) => bench::run(context, args).await,
            Self::Tool(args) => tool::run(&context, &args),
            Self::Schema(args) => schema::run(&context, &args),
            Self::Completions(args) => completions::run(&args),
        }
    }

    /// Whether it runs until it is told to stop.
    fn is_role(&self) -> bool {
        match self {
            Self::Dispatcher(_) => true,
            Self::Worker(args) => args.verb.is_none(),
            Self::Projector(args) => args.is_role(),
            _ => false,
        }
    }

    fn role_flags(&self) -> RoleFlags {
        match self {
            Self::Dispatcher(args) => args.role.clone(),
            Self::Worker(args) => args.role.clone(),
            Self::Projector(args) => args.role.clone(),
            _ => RoleFlags::default(),
        }
    }

    fn worker_flags(&self) -> WorkerFlags {
        match self {
            Self::Worker(args) => args.worker.clone(),
            Self::Tool(args) => WorkerFlags {
                tools: args.tools(),
                ..WorkerFlags::default()
            },
            _ => WorkerFlags::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_has_an_argument_that_is_taken_for_a_setting() {
        fn look(command: &clap::Command, settings: &[String]) {
            for below in command.get_subcommands() {
                let ids = below.get_arguments().map(|arg| arg.get_id().to_string());
                let taken: Vec<String> = ids.filter(|id| settings.contains(id)).collect();
                assert!(taken.is_empty(), "{}: {taken:?}", below.get_name());
                look(below, settings);
            }
        }
        let command = Cli::command();
        let globals = command.get_arguments().filter(|arg| arg.is_global_set());
        let settings: Vec<String> = globals.map(|arg| arg.get_id().to_string()).collect();
        assert!(settings.len() > 5);
        look(&command, &settings);
    }
}
