//! What a plan remembers of the one before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::node_config::Instance;
use api::{CiliumBGPAdvertisement, CiliumBGPPeerConfig};

use super::instance::Context;
use super::known::KnownServices;
use super::services::ServicePrefixes;
use super::{InstancePlan, RouterIdMode, import};
use crate::copy_on_write::CopyOnWrite;
use crate::rejected::Rejected;
use crate::snapshot::NodeFacts;

/// What was planned last, and what of. It makes the next plan cheap and changes nothing in it.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) services: KnownServices,
    pub(super) announced: import::GuardedAnnounced,
    instances: Option<Remembered>,
}

/// Instances, with what is rejected of them.
pub(super) type Instances = (CopyOnWrite<BTreeMap<String, InstancePlan>>, Vec<Rejected>);

/// Instances and all they were planned of.
#[derive(Debug)]
struct Remembered {
    wanted: Vec<Instance>,
    node: Option<NodeFacts>,
    router_id: RouterIdMode,
    peer_configs: BTreeMap<String, Arc<CiliumBGPPeerConfig>>,
    advertisements: BTreeMap<String, Arc<CiliumBGPAdvertisement>>,
    interfaces: BTreeMap<String, Vec<IpAddr>>,
    services: ServicePrefixes,
    planned: Instances,
}

impl Remembered {
    fn context(&self) -> Context<'_> {
        let Self {
            wanted: _,
            node,
            router_id,
            peer_configs,
            advertisements,
            interfaces,
            services,
            planned: _,
        } = self;
        Context {
            node: node.as_ref(),
            router_id: *router_id,
            peer_configs,
            advertisements,
            interfaces,
            services,
        }
    }
}

impl Memory {
    /// The instances that were planned of the same; else what `plan` makes of it, which is then remembered. Instances that
    /// say what they said are the same ones again.
    pub(super) fn instances(
        &mut self,
        context: &Context<'_>,
        wanted: &[Instance],
        plan: impl FnOnce() -> Instances,
    ) -> Instances {
        let same = |known: &&Remembered| known.wanted == wanted && known.context() == *context;
        if let Some(known) = self.instances.as_ref().filter(same) {
            return known.planned.clone();
        }
        let Context {
            node,
            router_id,
            peer_configs,
            advertisements,
            interfaces,
            services,
        } = *context;
        let (mut instances, rejected) = plan();
        if let Some(known) = &self.instances
            && known.planned.0 == instances
        {
            instances = known.planned.0.clone();
        }
        let planned = (instances, rejected);
        self.instances = Some(Remembered {
            wanted: wanted.to_vec(),
            node: node.cloned(),
            router_id,
            peer_configs: peer_configs.clone(),
            advertisements: advertisements.clone(),
            interfaces: interfaces.clone(),
            services: services.clone(),
            planned: planned.clone(),
        });
        planned
    }
}
