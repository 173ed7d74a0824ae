//! The subcommands that programs beside persistence have in common.

/// Declares `Task`, the subcommands of a program with the settings `$config`, and `run`, which runs one. `$listen` and
/// `$admin_listen` are the variables of the addresses of the program, and `$default` is its default address.
#[macro_export]
macro_rules! companion_tasks {
    ($config:ty, $listen:literal, $admin_listen:literal, $default:literal) => {
        /// Subcommands.
        #[derive(Debug, Clone, ::clap::Subcommand)]
        pub enum Task {
            /// Ask the running service for its health: exit code 0 when it is ready
            Health(Health),
            #[command(flatten)]
            Describe(::tidings_shared::program::DescribeCommand),
        }

        /// The address of the running service.
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct Health {
            /// Address of the service
            #[arg(long, env = $listen, default_value = $default, value_name = "ADDRESS")]
            pub listen: ::std::net::SocketAddr,
            /// Address of the operators' listener. Default: the port of `--listen` + 10000
            #[arg(long, env = $admin_listen, value_name = "ADDRESS")]
            pub admin_listen: Option<::std::net::SocketAddr>,
            #[command(flatten)]
            pub probe: ::tidings_shared::health::HealthProbe,
        }

        impl ::tidings_shared::config::problem::Check for Task {
            fn check(&self) -> Vec<::tidings_shared::config::problem::Problem> {
                match self {
                    Self::Health(health) => {
                        let address =
                            ::tidings_shared::config::admin_address(health.listen, health.admin_listen);
                        address.err().into_iter().collect()
                    }
                    Self::Describe(describe) => describe.check(),
                }
            }
        }

        /// Runs a subcommand.
        pub async fn run(task: Task) -> ::anyhow::Result<::std::process::ExitCode> {
            match task {
                Task::Health(health) => {
                    let address = ::tidings_shared::config::admin_address(health.listen, health.admin_listen);
                    Ok(health.probe.run(address.map_err(::anyhow::Error::msg)?).await)
                }
                Task::Describe(describe) => {
                    let command = ::tidings_shared::config::load::command::<$config, Task>();
                    ::tidings_shared::program::print(&describe.text(command))?;
                    Ok(::std::process::ExitCode::SUCCESS)
                }
            }
        }
    };
}
