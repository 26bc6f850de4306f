//! What the load balancer says, in the plan's words.

use std::sync::Arc;

use plan::node::observed::DatapathState;
use plan::node::{ObservedDatapath, Programmed};
use plan::snapshot::IpFamily;
use plan::withheld::{Reason, Subject, Table, Withheld};

/// What is known of the load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Datapath {
    /// Why it does not run, where it does not.
    pub unavailable: Option<Arc<str>>,
    /// Its last report.
    pub report: lb::Report,
}

impl Datapath {
    /// The same in the plan's words, with what it says is programmed set against what it was asked for since.
    #[must_use]
    pub fn observed(&self, programmed: &mut Programmed) -> ObservedDatapath {
        let Self {
            unavailable,
            report,
        } = self;
        let state = match unavailable {
            Some(why) => DatapathState::Unavailable(Arc::clone(why)),
            None if report.ready => DatapathState::Ready,
            None => DatapathState::Starting,
        };
        programmed.report(report.wish, &report.programmed);
        let withheld = report.withheld.iter().map(services);
        let withheld = withheld.chain(interfaces(report)).chain(sockets(report));
        ObservedDatapath {
            state,
            programmed: Arc::clone(programmed.all()),
            withheld: withheld.collect(),
        }
    }

    /// What it has yet to do, or cannot, in words.
    #[must_use]
    pub fn pending(&self) -> Option<String> {
        match &self.unavailable {
            Some(why) => Some(format!("load balancer: does not run: {why}")),
            None if self.report.ready => None,
            None => Some("load balancer: first plan not carried out yet".to_owned()),
        }
    }
}

fn services(withheld: &lb::Withheld) -> Withheld {
    let lb::Withheld {
        reason,
        count,
        examples,
    } = withheld;
    Withheld {
        subject: Subject::Service,
        count: *count,
        examples: examples.iter().map(ToString::to_string).collect(),
        reason: match *reason {
            lb::WithheldReason::FrontendTaken => Reason::FrontendTaken,
            lb::WithheldReason::Full(table) => Reason::TableFull(self::table(table)),
        },
    }
}

fn table(table: lb::Table) -> Table {
    match table {
        lb::Table::Frontends(lb::Family::Ipv4) => Table::Frontends(IpFamily::Ipv4),
        lb::Table::Frontends(lb::Family::Ipv6) => Table::Frontends(IpFamily::Ipv6),
        lb::Table::Groups => Table::Groups,
        lb::Table::Slots => Table::Lists,
        lb::Table::Rings => Table::Rings,
        lb::Table::Backends => Table::Backends,
    }
}

/// Interfaces that the kernel does not let programs to, one by one: there are few.
fn interfaces(report: &lb::Report) -> impl Iterator<Item = Withheld> {
    let interfaces = report.interfaces.iter();
    interfaces.filter_map(|(name, attachment)| match attachment {
        lb::Attachment::Uplink | lb::Attachment::Pod => None,
        lb::Attachment::Refused(why) => Some(Withheld {
            subject: Subject::Interface,
            count: 1,
            examples: vec![name.clone()],
            reason: Reason::Refused(why.as_str().into()),
        }),
    })
}

fn sockets(report: &lb::Report) -> Option<Withheld> {
    match &report.sockets {
        lb::Sockets::Off | lb::Sockets::Translated => None,
        lb::Sockets::Refused(why) => Some(Withheld {
            subject: Subject::Sockets,
            count: 1,
            examples: Vec::new(),
            reason: Reason::Refused(why.as_str().into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_ready_starting_or_of_no_use() {
        let ready = |ready| lb::Report {
            ready,
            ..lb::Report::default()
        };
        let rows = [
            (None, false, DatapathState::Starting, true),
            (None, true, DatapathState::Ready, false),
            (
                Some("why"),
                true,
                DatapathState::Unavailable("why".into()),
                true,
            ),
        ];
        for (unavailable, is_ready, state, is_pending) in rows {
            let datapath = Datapath {
                unavailable: unavailable.map(Into::into),
                report: ready(is_ready),
            };
            assert_eq!(datapath.observed(&mut Programmed::default()).state, state);
            assert_eq!(datapath.pending().is_some(), is_pending);
        }
    }

    #[test]
    fn what_the_load_balancer_cannot_do_is_told_with_the_reason() {
        let withheld = |reason| lb::Withheld {
            reason,
            count: 4,
            examples: vec!["a/b".into()],
        };
        let report = lb::Report {
            withheld: vec![
                withheld(lb::WithheldReason::FrontendTaken),
                withheld(lb::WithheldReason::Full(lb::Table::Rings)),
            ],
            interfaces: [
                ("eth0".to_owned(), lb::Attachment::Uplink),
                (
                    "eth1".to_owned(),
                    lb::Attachment::Refused("EOPNOTSUPP".to_owned()),
                ),
            ]
            .into(),
            sockets: lb::Sockets::Refused("no cgroup2".to_owned()),
            ..lb::Report::default()
        };
        let datapath = Datapath {
            unavailable: None,
            report,
        };
        let told = datapath.observed(&mut Programmed::default()).withheld;
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        let expected = [
            "4 Services are not wholly balanced (a/b, ...): another Service has the address, port and protocol",
            "4 Services are not wholly balanced (a/b, ...): the table of Maglev rings is full",
            "1 interface is not attached to (eth1): EOPNOTSUPP",
            "sockets are not translated: no cgroup2",
        ];
        assert_eq!(told, expected);
    }
}
