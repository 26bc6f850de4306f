//! `tombolo-agent cleanup`: takes away what the agent leaves on a node on purpose, and nothing else.
//!
//! Everything that outlives the process has a function here that removes it, called by [`run`].

use std::fmt;
use std::path::{Path, PathBuf};

use api::route_import::{DEFAULT_METRIC, DEFAULT_PROTOCOL, MAIN_TABLE};
use fib::{Cleaned, Identity, Marked};

use crate::Error;
use crate::config;

/// What may be said on the command line.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Arguments {
    /// Protocol number of the learned routes.
    #[arg(long, default_value_t = DEFAULT_PROTOCOL)]
    pub protocol: u8,
    /// Take the learned routes out of this table, also where nothing but their marks says that they are ours.
    #[arg(long)]
    pub table: Option<u32>,
    /// The metric of those routes.
    #[arg(long)]
    pub metric: Option<u32>,
    /// Where the load balancer's programs and maps are pinned.
    #[arg(long, default_value_os_t = config::pins(None))]
    pub pins: PathBuf,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Marks whose routes were removed.
    pub removed: Vec<(Identity, Cleaned)>,
    /// Routes of the same protocol number that nothing proves to be ours.
    pub kept: Vec<Marked>,
    /// What the load balancer had.
    pub balancer: lb::Cleaned,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lb::Cleaned { links, maps } = self.balancer;
        if self.removed.is_empty() && self.balancer == lb::Cleaned::default() {
            writeln!(formatter, "nothing of ours was found")?;
        }
        if self.balancer != lb::Cleaned::default() {
            writeln!(
                formatter,
                "load balancer: detached {links} programs and removed {maps} maps"
            )?;
        }
        for (identity, cleaned) in &self.removed {
            let Identity {
                table,
                protocol,
                metric,
            } = identity;
            let Cleaned {
                routes,
                nexthops,
                kept,
            } = cleaned;
            write!(
                formatter,
                "table {table} protocol {protocol} metric {metric}: "
            )?;
            write!(
                formatter,
                "removed {routes} routes and {nexthops} nexthop objects"
            )?;
            if *kept > 0 {
                write!(
                    formatter,
                    "; kept {kept} nexthop objects that routes of others lead to"
                )?;
            }
            writeln!(formatter)?;
        }
        for marked in &self.kept {
            let Identity {
                table,
                protocol,
                metric,
            } = marked.identity;
            writeln!(
                formatter,
                "table {table} protocol {protocol} metric {metric}: kept {} routes, which may be somebody else's \
                 (--protocol {protocol} --table {table} --metric {metric} removes them)",
                marked.routes
            )?;
        }
        Ok(())
    }
}

/// Removes what is ours from the network namespace of this thread and from the BPF file system. The agent must not be running.
///
/// Without a table or metric these are the routes of the protocol number whose nexthop objects only we number so; with one
/// of them the routes that carry exactly these marks, the default standing for the other.
///
/// # Errors
///
/// [`Error::Cleanup`] and [`Error::BalancerCleanup`] when something of ours may be left.
pub fn run(arguments: &Arguments) -> Result<Outcome, Error> {
    // The programs first: without them, routes lead nowhere that they were needed for.
    let balancer = balancer(&arguments.pins).map_err(Error::BalancerCleanup)?;
    let learned = learned(arguments).map_err(Error::Cleanup)?;
    Ok(Outcome {
        balancer,
        ..learned
    })
}

/// Removes programs and maps of the load balancer.
pub(crate) fn balancer(pins: &Path) -> Result<lb::Cleaned, lb::Error> {
    lb::cleanup(pins)
}

fn learned(arguments: &Arguments) -> Result<Outcome, fib::Error> {
    let Arguments {
        protocol,
        table,
        metric,
        pins: _,
    } = *arguments;
    let named = (table.is_some() || metric.is_some()).then(|| Identity {
        table: table.unwrap_or(MAIN_TABLE),
        protocol,
        metric: metric.unwrap_or(DEFAULT_METRIC),
    });
    let mut outcome = Outcome::default();
    let found = fib::marked(protocol)?;
    let chosen = |marked: &Marked| match named {
        Some(named) => marked.identity == named,
        None => marked.is_ours(),
    };
    let (ours, others): (Vec<Marked>, Vec<Marked>) = found.into_iter().partition(chosen);
    // Without routes there may still be nexthop objects.
    let identities = ours.iter().map(|marked| marked.identity);
    let identities = named.map_or_else(|| identities.collect(), |named| vec![named]);
    for identity in identities {
        let cleaned = routes(identity)?;
        if cleaned != Cleaned::default() {
            outcome.removed.push((identity, cleaned));
        }
    }
    outcome.kept = others;
    Ok(outcome)
}

/// Removes the learned routes of one mark.
pub(crate) fn routes(identity: Identity) -> Result<Cleaned, fib::Error> {
    fib::cleanup(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_was_left_reads_well() {
        let identity = Identity {
            table: 254,
            protocol: 186,
            metric: 30,
        };
        let outcome = Outcome {
            removed: vec![(
                identity,
                Cleaned {
                    routes: 3,
                    nexthops: 2,
                    kept: 1,
                },
            )],
            kept: vec![Marked {
                identity: Identity {
                    metric: 20,
                    ..identity
                },
                routes: 7,
                proven: 0,
            }],
            balancer: lb::Cleaned {
                links: 14,
                maps: 13,
            },
        };
        assert_eq!(
            outcome.to_string(),
            "load balancer: detached 14 programs and removed 13 maps\n\
             table 254 protocol 186 metric 30: removed 3 routes and 2 nexthop objects; kept 1 nexthop objects that routes \
             of others lead to\n\
             table 254 protocol 186 metric 20: kept 7 routes, which may be somebody else's (--protocol 186 --table 254 \
             --metric 20 removes them)\n"
        );
        assert_eq!(
            Outcome::default().to_string(),
            "nothing of ours was found\n"
        );
    }
}
