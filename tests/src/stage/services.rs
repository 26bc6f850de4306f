//! Services, the pools of their addresses, and what the operator says of both.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Outcome, Stage, eventually, said};

/// What is said of a Service that has all it asks for.
pub const SATISFIED: &str = "IPAMRequestSatisfied True satisfied: ";

/// What is said of a Service that asks for nothing in particular, and that no pool is for.
pub const NO_POOL: &str = "IPAMRequestSatisfied False no_pool: \
                           There are no enabled CiliumLoadBalancerIPPools that match this service";

/// Where a test's Services are unless it says otherwise.
const NAMESPACE: &str = "default";

/// How many statuses the operator has written, by the API server's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writes {
    /// Of Services.
    pub services: u64,
    /// Of pools.
    pub pools: u64,
}

impl Stage {
    /// The Services of a namespace.
    #[must_use]
    pub fn services(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a Service of type LoadBalancer with one port, and these fields instead.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn service(&self, name: &str, metadata: Value, spec: Value) -> Outcome {
        let mut service = json!({
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80}]},
        });
        for (part, fields) in [("metadata", metadata), ("spec", spec)] {
            for (field, value) in fields.as_object().into_iter().flatten() {
                service[part][field] = value.clone();
            }
        }
        let namespace = service["metadata"]["namespace"]
            .as_str()
            .unwrap_or(NAMESPACE)
            .to_owned();
        self.services(&namespace)
            .create(&PostParams::default(), &serde_json::from_value(service)?)
            .await?;
        Ok(())
    }

    /// Changes a Service as a user does, by a merge patch.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn edit_service(&self, name: &str, patch: Value) -> Outcome {
        self.services(NAMESPACE)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Writes a status as some other controller does.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn edit_service_status(&self, name: &str, status: Value) -> Outcome {
        let patch = Patch::Merge(json!({"status": status}));
        self.services(NAMESPACE)
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Deletes a Service.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn delete_service(&self, name: &str) -> Outcome {
        self.services(NAMESPACE)
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// The addresses of a Service, and what is said of it in all conditions.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub async fn service_status(&self, name: &str) -> Outcome<(Vec<String>, Vec<String>)> {
        let status = self.services(NAMESPACE).get(name).await?.status;
        let status = status.unwrap_or_default();
        let ingress = status.load_balancer.and_then(|status| status.ingress);
        let addresses = ingress.unwrap_or_default().into_iter();
        let addresses = addresses.map(|entry| entry.ip.or(entry.hostname).unwrap_or_default());
        let conditions = status.conditions.unwrap_or_default();
        Ok((addresses.collect(), conditions.iter().map(said).collect()))
    }

    /// Waits until a Service has exactly these addresses, and exactly this is said of it.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_service(
        &self,
        name: &str,
        addresses: &[&str],
        conditions: &[&str],
    ) -> Outcome {
        let mut found = (Vec::new(), Vec::new());
        let waited = eventually("the Service is as expected", async || {
            found = self.service_status(name).await?;
            Ok((found.0 == addresses && found.1 == conditions).then_some(()))
        });
        let waited = waited.await;
        waited.map_err(|error| format!("{error}: {name} has {found:#?}").into())
    }

    /// Creates or edits a pool.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn pool(&self, name: &str, spec: &Value) -> Outcome {
        self.apply("CiliumLoadBalancerIPPool", name, spec)
    }

    /// Conditions of a pool.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub async fn pool_conditions(&self, name: &str) -> Outcome<Vec<Condition>> {
        let pool = self
            .all::<api::CiliumLoadBalancerIPPool>()
            .get(name)
            .await?;
        Ok(pool
            .status
            .map(|status| status.conditions)
            .unwrap_or_default())
    }

    /// Waits until exactly this is said of a pool.
    ///
    /// # Errors
    ///
    /// When it is not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_pool(&self, name: &str, expected: &[&str]) -> Outcome {
        let mut found = Vec::new();
        let waited = eventually("the pool says what is expected", async || {
            let conditions = self.pool_conditions(name).await?;
            found = conditions.iter().map(said).collect();
            Ok((found == expected).then_some(()))
        });
        let waited = waited.await;
        waited.map_err(|error| format!("{error}: {name} says {found:#?}").into())
    }

    /// Waits until a pool without conflict counts so many addresses.
    ///
    /// # Errors
    ///
    /// When it does not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_counts(&self, name: &str, total: u64, available: u64) -> Outcome {
        let used = total - available;
        let counts = [
            "PoolConflict False resolved: ".to_owned(),
            format!("IPsTotal Unknown noreason: {total}"),
            format!("IPsAvailable Unknown noreason: {available}"),
            format!("IPsUsed Unknown noreason: {used}"),
        ];
        self.await_pool(name, &counts.each_ref().map(String::as_str))
            .await
    }

    /// How many statuses have been written so far.
    ///
    /// # Errors
    ///
    /// When the API server does not say.
    pub fn status_writes(&self) -> Outcome<Writes> {
        let of = |resource| self.changes(&[resource, r#"subresource="status""#]);
        Ok(Writes {
            services: of(r#"resource="services""#)?,
            pools: of(r#"resource="ciliumloadbalancerippools""#)?,
        })
    }
}
