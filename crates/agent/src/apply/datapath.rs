//! The joint down to the load balancer: what a node's Services are, in its words.

use std::sync::Arc;

use plan::node::DatapathPlan;
use plan::node::datapath::{
    Algorithm, Backend, BackendState, DatapathService, DatapathServices, Frontend, FrontendAddress,
    Transport,
};
use plan::snapshot::IpFamily;
use plan::{NamespacedName, next_named};

/// Remembers what it has translated: a Service that is planned as it was is wished as it was, by the same `Arc`, and costs
/// the load balancer nothing.
#[derive(Debug, Default)]
pub struct Translator {
    /// In order of names.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    name: Arc<NamespacedName>,
    plan: Arc<DatapathService>,
    wished: (Arc<str>, Arc<lb::Service>),
}

/// A plan in the load balancer's words.
#[derive(Debug, Default)]
pub struct Translation {
    /// What to wish.
    pub wish: lb::Wish,
    /// Services that are planned otherwise than last time, or for the first time.
    pub changed: Vec<(Arc<NamespacedName>, Arc<DatapathService>)>,
}

impl Translator {
    /// Translates the next plan into a wish of this number.
    pub fn translate(&mut self, number: u64, plan: &DatapathPlan) -> Translation {
        let DatapathPlan {
            services,
            hold,
            hold_found,
            node_addresses,
            other_nodes,
        } = plan;
        let changed = self.take(services);
        let wished = self.known.iter();
        // A Service without frontends is in the plan for its faults only.
        let wished = wished.filter(|known| !known.plan.frontends.is_empty());
        let wish = lb::Wish {
            number,
            services: wished.map(|known| known.wished.clone()).collect(),
            hold: hold.clone(),
            hold_found: *hold_found,
            node_addresses: node_addresses.clone(),
            other_nodes: other_nodes.clone(),
        };
        Translation { wish, changed }
    }

    fn take(
        &mut self,
        services: &DatapathServices,
    ) -> Vec<(Arc<NamespacedName>, Arc<DatapathService>)> {
        let mut changed = Vec::new();
        let mut old = std::mem::take(&mut self.known).into_iter().peekable();
        self.known.reserve(services.len());
        for (name, plan) in services {
            let next = match next_named(&mut old, name, |known| &known.name) {
                Some(known) if Arc::ptr_eq(&known.plan, plan) => known,
                known => {
                    changed.push((Arc::clone(name), Arc::clone(plan)));
                    let text = known.map(|known| known.wished.0);
                    let text = text.unwrap_or_else(|| name.to_string().into());
                    Known {
                        name: Arc::clone(name),
                        plan: Arc::clone(plan),
                        wished: (text, Arc::new(service(plan))),
                    }
                }
            };
            self.known.push(next);
        }
        changed
    }
}

fn service(plan: &DatapathService) -> lb::Service {
    let DatapathService {
        algorithm,
        frontends,
        faults: _,
    } = plan;
    let mut lists = Lists::default();
    lb::Service {
        algorithm: match algorithm {
            Algorithm::Random => lb::Algorithm::Random,
            Algorithm::Maglev => lb::Algorithm::Maglev,
        },
        frontends: frontends
            .iter()
            .map(|plan| frontend(plan, &mut lists))
            .collect(),
    }
}

fn frontend(plan: &Frontend, lists: &mut Lists) -> lb::Frontend {
    let Frontend {
        address,
        port,
        protocol,
        external,
        internal,
    } = plan;
    lb::Frontend {
        address: match *address {
            FrontendAddress::ClusterIp(address) => lb::FrontendAddress::ClusterIp(address),
            FrontendAddress::LoadBalancer(address) => lb::FrontendAddress::LoadBalancer(address),
            FrontendAddress::ExternalIp(address) => lb::FrontendAddress::ExternalIp(address),
            FrontendAddress::NodePort(family) => {
                lb::FrontendAddress::NodePort(self::family(family))
            }
        },
        port: *port,
        protocol: match protocol {
            Transport::Tcp => lb::Protocol::Tcp,
            Transport::Udp => lb::Protocol::Udp,
        },
        external: lists.translate(external),
        internal: lists.translate(internal),
    }
}

fn family(family: IpFamily) -> lb::Family {
    match family {
        IpFamily::Ipv4 => lb::Family::Ipv4,
        IpFamily::Ipv6 => lb::Family::Ipv6,
    }
}

/// The lists of one Service. What is one list in the plan is one in the wish.
#[derive(Default)]
struct Lists(Vec<List>);

struct List {
    plan: Arc<[Backend]>,
    wished: Arc<[lb::Backend]>,
}

impl Lists {
    fn translate(&mut self, plan: &Arc<[Backend]>) -> Arc<[lb::Backend]> {
        let mut known = self.0.iter();
        if let Some(known) = known.find(|known| Arc::ptr_eq(&known.plan, plan)) {
            return Arc::clone(&known.wished);
        }
        let wished: Arc<[lb::Backend]> = plan.iter().map(backend).collect();
        self.0.push(List {
            plan: Arc::clone(plan),
            wished: Arc::clone(&wished),
        });
        wished
    }
}

fn backend(plan: &Backend) -> lb::Backend {
    let Backend {
        address,
        port,
        is_local,
        state,
    } = *plan;
    lb::Backend {
        address,
        port,
        is_local,
        state: match state {
            BackendState::Active => lb::BackendState::Active,
            BackendState::Terminating => lb::BackendState::Terminating,
            BackendState::Draining => lb::BackendState::Draining,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Arc<NamespacedName> {
        Arc::new(NamespacedName {
            namespace: "default".into(),
            name: name.into(),
        })
    }

    fn planned(port: u16) -> Arc<DatapathService> {
        let backend = |last, state| Backend {
            address: [172, 20, 0, last].into(),
            port: 8080,
            is_local: last == 1,
            state,
        };
        let external = Arc::from([
            backend(1, BackendState::Active),
            backend(2, BackendState::Terminating),
            backend(3, BackendState::Draining),
        ]);
        let frontend = |address, protocol| Frontend {
            address,
            port,
            protocol,
            external: Arc::clone(&external),
            internal: Arc::clone(&external),
        };
        Arc::new(DatapathService {
            algorithm: Algorithm::Maglev,
            frontends: vec![
                frontend(
                    FrontendAddress::LoadBalancer([172, 16, 1, 7].into()),
                    Transport::Tcp,
                ),
                frontend(FrontendAddress::NodePort(IpFamily::Ipv6), Transport::Udp),
            ],
            faults: Vec::new(),
        })
    }

    fn plan(services: &[(&str, &Arc<DatapathService>)]) -> DatapathPlan {
        DatapathPlan {
            services: services
                .iter()
                .map(|(name, service)| (named(name), Arc::clone(service)))
                .collect(),
            hold: [[10, 0, 0, 1].into()].into(),
            hold_found: true,
            node_addresses: [[10, 0, 0, 2].into()].into(),
            other_nodes: [[10, 0, 0, 3].into()].into(),
        }
    }

    #[test]
    fn a_plan_says_the_same_in_the_load_balancer_s_words() {
        let service = planned(80);
        let wish = Translator::default()
            .translate(7, &plan(&[("web", &service)]))
            .wish;
        let backend = |last, is_local, state| lb::Backend {
            address: [172, 20, 0, last].into(),
            port: 8080,
            is_local,
            state,
        };
        let list: Arc<[lb::Backend]> = Arc::from([
            backend(1, true, lb::BackendState::Active),
            backend(2, false, lb::BackendState::Terminating),
            backend(3, false, lb::BackendState::Draining),
        ]);
        let frontend = |address, protocol| lb::Frontend {
            address,
            port: 80,
            protocol,
            external: Arc::clone(&list),
            internal: Arc::clone(&list),
        };
        let service = lb::Service {
            algorithm: lb::Algorithm::Maglev,
            frontends: vec![
                frontend(
                    lb::FrontendAddress::LoadBalancer([172, 16, 1, 7].into()),
                    lb::Protocol::Tcp,
                ),
                frontend(
                    lb::FrontendAddress::NodePort(lb::Family::Ipv6),
                    lb::Protocol::Udp,
                ),
            ],
        };
        let expected = lb::Wish {
            number: 7,
            services: [("default/web".into(), Arc::new(service))].into(),
            hold: [[10, 0, 0, 1].into()].into(),
            hold_found: true,
            node_addresses: [[10, 0, 0, 2].into()].into(),
            other_nodes: [[10, 0, 0, 3].into()].into(),
        };
        assert_eq!(wish, expected);
        let service = &wish.services["default/web"];
        let lists = service
            .frontends
            .iter()
            .flat_map(|frontend| [&frontend.external, &frontend.internal]);
        let first = &service.frontends[0].external;
        assert!(lists.into_iter().all(|list| Arc::ptr_eq(list, first)));
    }

    #[test]
    fn what_is_planned_as_it_was_is_wished_by_the_same_arc() {
        let (a, b, c) = (planned(1), planned(2), planned(3));
        let mut translator = Translator::default();
        let first = translator.translate(7, &plan(&[("a", &a), ("b", &b)]));
        assert_eq!(first.changed.len(), 2);
        let other = planned(9);
        let second = translator.translate(7, &plan(&[("a", &a), ("b", &other), ("c", &c)]));
        let changed: Vec<_> = second.changed.iter().map(|(name, _)| &*name.name).collect();
        assert_eq!(changed, ["b", "c"]);
        let same = |name: &str| {
            let name: &str = &format!("default/{name}");
            Arc::ptr_eq(&first.wish.services[name], &second.wish.services[name])
        };
        assert!(same("a") && !same("b"));
        let third = translator.translate(7, &plan(&[("c", &c)]));
        assert_eq!((third.changed.len(), third.wish.services.len()), (0, 1));
    }

    #[test]
    fn a_service_with_nothing_but_faults_is_told_of_and_not_wished() {
        let faulty = Arc::new(DatapathService {
            faults: vec![plan::node::datapath::Fault::SourceRanges],
            ..DatapathService::default()
        });
        let translation = Translator::default().translate(7, &plan(&[("web", &faulty)]));
        assert_eq!(translation.changed.len(), 1);
        assert!(translation.wish.services.is_empty());
    }

    #[test]
    fn one_change_among_ten_thousand_services_is_one_service_translated() {
        let services = (0..10_000).map(|number| (named(&format!("web-{number}")), planned(number)));
        let mut plan = DatapathPlan {
            services: services.collect(),
            ..DatapathPlan::default()
        };
        let mut translator = Translator::default();
        let first = translator.translate(7, &plan);
        let changed = named("web-4711");
        plan.services.insert(Arc::clone(&changed), planned(9));
        let started = std::time::Instant::now();
        let second = translator.translate(7, &plan);
        println!("translated in {:?}", started.elapsed());
        assert_eq!(second.changed.len(), 1);
        let same = first.wish.services.iter().filter(|(name, service)| {
            let now = &second.wish.services[*name];
            Arc::ptr_eq(service, now)
        });
        assert_eq!(same.count(), 9_999);
    }
}
