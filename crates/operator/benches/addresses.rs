//! The operator on a real API server with 2,000 Services, beside what Cilium's operator needs there.
//!
//! `cargo bench -p operator --bench addresses`. Starts a control plane of its own and measures what a watch of Services
//! sees.

#![expect(clippy::print_stdout, reason = "a bench tells a person")]

mod measure;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use api::CiliumLoadBalancerIPPool;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use lab::control_plane::ControlPlane;
use serde_json::json;
use tokio::time::timeout;

use self::measure::{Memory, PATIENCE, Result, await_lead, end, millis, quantiles, row, start};

const SERVICES: usize = 2000;
/// Single Services to time.
const SAMPLES: usize = 200;
/// A class that the operator does not serve.
const FOREIGN_CLASS: &str = "example.com/bench";
/// Writes of a pool's status, and of a Service's, in the API server's count.
const OF_POOL: [&str; 2] = [
    r#"resource="ciliumloadbalancerippools""#,
    r#"subresource="status""#,
];
const OF_SERVICE: [&str; 2] = [r#"resource="services""#, r#"subresource="status""#];

fn main() -> Result<()> {
    measure::run("addresses", measure)
}

async fn measure(plane: &ControlPlane, client: kube::Client) -> Result<()> {
    let bench = Bench {
        services: Api::namespaced(client.clone(), "default"),
        pools: Api::all(client),
    };
    let alone = bench.time_alone(plane).await?;
    bench.make_services().await?;
    let pool_before = measure::writes(plane, &OF_POOL)?;
    let services_before = measure::writes(plane, &OF_SERVICE)?;
    let mut operator = start(plane)?;
    await_lead(plane).await?;
    let burst = bench.await_all().await?;
    // The last state of the pool follows within a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let of_pool = measure::writes(plane, &OF_POOL)? - pool_before;
    let of_services = measure::writes(plane, &OF_SERVICE)? - services_before;
    let loaded = Memory::of(&operator)?;

    let beside = bench.time_single_services().await?;
    let of_services_later = measure::writes_while_idle(plane, &OF_SERVICE).await?;
    let of_pool_later = measure::writes_while_idle(plane, &OF_POOL).await?;
    end(&mut operator)?;

    bench.create("waiting", None).await?;
    let begin = Instant::now();
    let mut operator = start(plane)?;
    await_address(bench.events("waiting").await?).await?;
    let started = begin.elapsed();
    let fresh = Memory::of(&operator)?;
    end(&mut operator)?;

    row("", "this", "Cilium 1.20.2");
    row("2,000 Services: first assigned", &millis(burst.first), "");
    row(
        "2,000 Services: all assigned",
        &millis(burst.all),
        "24,000 ms",
    );
    row(
        "writes of their statuses / of the pool's",
        &format!("{of_services} / {of_pool}"),
        "2,000 / 2,000",
    );
    tell(alone, beside);
    row(
        "start to an address, beside 2,000 Services",
        &millis(started),
        "8,000 to 10,000 ms",
    );
    row(
        "RSS after the burst / after a start",
        &format!("{loaded} / {fresh} MB"),
        "",
    );
    row(
        "statuses written in 10 s idle",
        &(of_services_later + of_pool_later).to_string(),
        "",
    );
    Ok(())
}

fn tell(alone: Single, beside: Single) {
    let rows = [
        (
            "one Service made to address seen, p50 / p99",
            alone.by_operator,
            "19 ms",
        ),
        (
            "  the same with the address given by hand",
            alone.by_hand,
            "",
        ),
        ("  beside 2,000 Services", beside.by_operator, ""),
        ("  beside 2,000 Services, by hand", beside.by_hand, ""),
    ];
    for (what, samples, cilium) in rows {
        row(what, &quantiles(samples), cilium);
    }
}

/// Times from the request for a Service to the event with its address.
#[derive(Default)]
struct Single {
    by_operator: Vec<Duration>,
    /// What the API server takes for it: the bench gives the address as soon as its watch shows the Service.
    by_hand: Vec<Duration>,
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Service>>>;

struct Bench {
    services: Api<Service>,
    pools: Api<CiliumLoadBalancerIPPool>,
}

/// When the first and the last of 2,000 Services had an address.
struct Burst {
    first: Duration,
    all: Duration,
}

impl Bench {
    async fn make_services(&self) -> Result<()> {
        let creations = (0..SERVICES).map(|number| async move {
            let name = format!("service-{number:04}");
            self.create(&name, None).await
        });
        stream::iter(creations)
            .buffer_unordered(measure::AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    async fn create(&self, name: &str, class: Option<&str>) -> Result<()> {
        let service = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": class, "allocateLoadBalancerNodePorts": false,
                "selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        self.services
            .create(&PostParams::default(), &serde_json::from_value(service)?)
            .await?;
        Ok(())
    }

    /// Makes a pool, and waits until a watch that was there before has seen the address of each Service. The API server
    /// may end a watch that reads too slowly; it is then taken up again where it ended.
    async fn await_all(&self) -> Result<Burst> {
        let mut version = self.version().await?;
        let params = WatchParams::default();
        let mut events = Box::pin(self.services.watch(&params, &version).await?);
        let spec = serde_json::from_value(json!({"blocks": [{"cidr": "10.128.0.0/16"}]}))?;
        let pool = CiliumLoadBalancerIPPool::new("pool", spec);
        let begin = Instant::now();
        self.pools.create(&PostParams::default(), &pool).await?;
        let (mut first, mut seen) = (None, BTreeSet::new());
        while seen.len() < SERVICES {
            match timeout(PATIENCE, events.try_next()).await?? {
                Some(WatchEvent::Modified(service)) => {
                    version = service
                        .metadata
                        .resource_version
                        .clone()
                        .unwrap_or_default();
                    if has_address(&service) {
                        first.get_or_insert(begin.elapsed());
                        seen.insert(service.metadata.name);
                    }
                }
                Some(_) => {}
                None => events = Box::pin(self.services.watch(&params, &version).await?),
            }
        }
        Ok(Burst {
            first: first.unwrap_or_default(),
            all: begin.elapsed(),
        })
    }

    /// The times of single Services where there is no other.
    async fn time_alone(&self, plane: &ControlPlane) -> Result<Single> {
        let spec = serde_json::from_value(json!({"blocks": [{"cidr": "10.127.0.0/16"}]}))?;
        let pool = CiliumLoadBalancerIPPool::new("alone", spec);
        self.pools.create(&PostParams::default(), &pool).await?;
        let mut operator = start(plane)?;
        await_lead(plane).await?;
        let single = self.time_single_services().await?;
        end(&mut operator)?;
        self.pools.delete("alone", &DeleteParams::default()).await?;
        Ok(single)
    }

    /// Makes one Service after the other, by turns for the operator and for the bench to give it an address.
    async fn time_single_services(&self) -> Result<Single> {
        let mut single = Single::default();
        for sample in 0..SAMPLES {
            let name = format!("single-{sample:03}");
            let by_operator = self.time(&name, None, await_address);
            single.by_operator.push(by_operator.await?);
            let name = format!("by-hand-{sample:03}");
            let by_hand = self.time(&name, Some(FOREIGN_CLASS), |events| {
                self.give_address(&name, events)
            });
            single.by_hand.push(by_hand.await?);
        }
        Ok(single)
    }

    /// The time of one Service, of this class, from the request for it until `addressed` has seen its address.
    async fn time<F: Future<Output = Result<()>>>(
        &self,
        name: &str,
        class: Option<&str>,
        addressed: impl FnOnce(Events) -> F,
    ) -> Result<Duration> {
        measure::pause().await;
        let events = self.events(name).await?;
        let begin = Instant::now();
        tokio::try_join!(self.create(name, class), addressed(events))?;
        let took = begin.elapsed();
        measure::pause().await;
        self.services.delete(name, &DeleteParams::default()).await?;
        Ok(took)
    }

    /// Gives a Service an address as soon as its watch shows it, and awaits to see that.
    async fn give_address(&self, name: &str, mut events: Events) -> Result<()> {
        next(&mut events).await?;
        let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.129.0.1"}]}}});
        let given = async {
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            self.services.patch_status(name, &params, &patch).await?;
            Ok(())
        };
        tokio::try_join!(given, await_address(events))?;
        Ok(())
    }

    /// What happens to a Service, which need not exist yet.
    async fn events(&self, name: &str) -> Result<Events> {
        let only = WatchParams::default().fields(&format!("metadata.name={name}"));
        Ok(self.services.watch(&only, "0").await?.boxed())
    }

    /// The version to watch from.
    async fn version(&self) -> Result<String> {
        let first_page = ListParams::default().limit(1);
        let list = self.services.list_metadata(&first_page).await?;
        Ok(list.metadata.resource_version.unwrap_or_default())
    }
}

async fn await_address(mut events: Events) -> Result<()> {
    while !has_address(&next(&mut events).await?) {}
    Ok(())
}

/// The next state of a Service.
async fn next(events: &mut Events) -> Result<Service> {
    loop {
        match timeout(PATIENCE, events.try_next()).await?? {
            Some(WatchEvent::Added(service) | WatchEvent::Modified(service)) => return Ok(service),
            Some(_) => {}
            None => return Err("the watch ended".into()),
        }
    }
}

fn has_address(service: &Service) -> bool {
    let status = service.status.as_ref();
    let load_balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = load_balancer.and_then(|status| status.ingress.as_ref());
    ingress.is_some_and(|entries| !entries.is_empty())
}
