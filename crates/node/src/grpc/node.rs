//! The service about the node itself.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::NodeId;
use larder_format::namespace::{Class, Namespace};
use larder_store::log::LogStore;
use larder_wire::answer::Failure;
use larder_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::guard::caller;
use super::status;
use crate::admission::Admission;
use crate::blobs::Blobs;
use crate::emptying::Emptying;
use crate::identity::Right;
use crate::maintenance::{Collecting, Maintenance, Scrubbing};
use crate::namespaces::{Namespaces, check_order};
use crate::own::Own;
use crate::quota;
use crate::registers::{Registers, store_failure};
use crate::server::Health;
use crate::time::NodeTime;
use crate::tokens::Tokens;
use crate::upkeep::{Keeper, damaged_message};

pub(crate) struct NodeService {
    pub(crate) node_id: NodeId,
    pub(crate) registers: Arc<Registers>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) own: Arc<Own>,
    pub(crate) log: Arc<LogStore>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) health: Arc<Health>,
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) raw_doors: Vec<v1::RawDoor>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) emptying: Arc<Emptying>,
}

/// Steps of long work that may be told ahead of a slow reader.
const STEPS_QUEUED_MAX: usize = 4;

type Steps<T> = ReceiverStream<Result<T, Status>>;

/// Runs long work on a thread of its own and answers the stream that it tells of its steps in.
fn in_steps<T: Send + 'static>(
    work: impl FnOnce(&mut dyn FnMut(T) -> bool) -> Result<(), Failure> + Send + 'static,
) -> Response<Steps<T>> {
    let (sender, receiver) = mpsc::channel(STEPS_QUEUED_MAX);
    tokio::task::spawn_blocking(move || {
        let result = work(&mut |step| sender.blocking_send(Ok(step)).is_ok());
        if let Err(failure) = result {
            // Whoever asked may be gone.
            let _ = sender.blocking_send(Err(status(failure)));
        }
    });
    Response::new(ReceiverStream::new(receiver))
}

fn collect_message(done: Collecting) -> v1::CollectProgress {
    v1::CollectProgress {
        leases_total: done.leases_total,
        leases_seen: done.leases_seen,
        leases_ended: done.leases_ended,
        blobs: done.blobs,
        blob_bytes: done.blob_bytes,
        read_bytes: done.read_bytes,
        copied_bytes: done.copied_bytes,
        freed_segments: done.freed_segments,
        disk_free_before_bytes: done.disk_free_before_bytes,
        disk_free_bytes: done.disk_free_bytes,
        finished: done.finished,
    }
}

fn scrub_message(log: &LogStore, done: Scrubbing) -> v1::ScrubProgress {
    v1::ScrubProgress {
        total_bytes: done.total_bytes,
        read_bytes: done.read_bytes,
        frames: done.frames,
        damaged: done.damaged.into_iter().map(|item| damaged_message(log, item)).collect(),
        finished: done.finished,
        lost: done.lost,
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for NodeService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let disk = self.registers.table(Class::Disk).usage();
        let memory = self.registers.table(Class::Memory).usage();
        let blobs = self.blobs.store().usage();
        let health = self.health.look();
        let admission = self.admission.status();
        Ok(Response::new(v1::StatusResponse {
            node_id: Bytes::copy_from_slice(&self.node_id.0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.time.monotonic().as_millis()).unwrap_or(u64::MAX),
            // Not the last one given out: clients reckon lifetimes and deadlines from it.
            time: self.time.now().to_u64(),
            disk_records: disk.records,
            disk_payload_bytes: disk.payload_bytes,
            blobs: blobs.blobs,
            blob_bytes: blobs.blob_bytes,
            orphan_blobs: blobs.orphans,
            orphan_bytes: blobs.orphan_bytes,
            leases: blobs.leases,
            store_bytes: blobs.disk_bytes,
            disk_free_bytes: blobs.disk_free_bytes,
            memory_records: memory.records,
            memory_payload_bytes: memory.payload_bytes,
            memory_accounted_bytes: memory.accounted_bytes,
            memory_cap_bytes: memory.cap_bytes,
            closed_reason: health.closed_reason,
            damage: health.damage,
            raw_doors: self.raw_doors.clone(),
            connections: admission.connections as u64,
            connections_max: admission.connections_max as u64,
            revoked_certificates: admission.revoked as u64,
            certificate_not_after_ms: admission.not_after_ms,
            certificates_problem: admission.problem,
        }))
    }

    async fn create_namespace(
        &self,
        request: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        let who = caller(&request)?;
        let settings = Namespace::decode(request.into_inner().settings)
            .map_err(|e| status(Failure::new(Kind::Invalid, e.to_string())))?;
        who.check_in(Right::Admin, settings.id()).map_err(status)?;
        check_order(&settings).map_err(status)?;
        let (created, ticket) = self.namespaces.create(settings, self.time.now()).map_err(status)?;
        ticket.await.map_err(|e| status(store_failure(e)))?;
        Ok(Response::new(v1::CreateNamespaceResponse { created }))
    }

    async fn list_namespaces(
        &self,
        _request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        let settings = self.namespaces.list().iter().map(|n| n.encode()).collect();
        Ok(Response::new(v1::ListNamespacesResponse { settings }))
    }

    async fn set_namespace(
        &self,
        request: Request<v1::SetNamespaceRequest>,
    ) -> Result<Response<v1::SetNamespaceResponse>, Status> {
        self.set_settings(request).await.map(Response::new)
    }

    async fn delete_namespace(
        &self,
        request: Request<v1::DeleteNamespaceRequest>,
    ) -> Result<Response<v1::DeleteNamespaceResponse>, Status> {
        self.delete_all(request).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.make_token(request).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let who = caller(&request)?;
        Ok(Response::new(self.tokens_of(&who)))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.end_token(request).await.map(Response::new)
    }

    type CollectStream = Steps<v1::CollectProgress>;

    async fn collect(
        &self,
        request: Request<v1::CollectRequest>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        caller(&request)?.check_everywhere(Right::Admin).map_err(status)?;
        let maintenance = self.maintenance.clone();
        Ok(in_steps(move |tell| maintenance.collect(|done| tell(collect_message(done)))))
    }

    type ScrubStream = Steps<v1::ScrubProgress>;

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        caller(&request)?.check_everywhere(Right::Admin).map_err(status)?;
        let maintenance = self.maintenance.clone();
        let (keeper, time, log) = (self.keeper.clone(), self.time.clone(), self.log.clone());
        Ok(in_steps(move |tell| maintenance.scrub(&keeper, &time, |done| tell(scrub_message(&log, done)))))
    }

    async fn accept_damage(
        &self,
        request: Request<v1::AcceptDamageRequest>,
    ) -> Result<Response<v1::AcceptDamageResponse>, Status> {
        caller(&request)?.check_everywhere(Right::Admin).map_err(status)?;
        let maintenance = self.maintenance.clone();
        let work = tokio::task::spawn_blocking(move || maintenance.accept_damage()).await;
        let accepted = work.map_err(|e| status(Failure::new(Kind::Bug, e.to_string())))?.map_err(status)?;
        Ok(Response::new(v1::AcceptDamageResponse { accepted }))
    }

    async fn set_quota(
        &self,
        request: Request<v1::SetQuotaRequest>,
    ) -> Result<Response<v1::SetQuotaResponse>, Status> {
        let who = caller(&request)?;
        let asked = request.into_inner();
        let now = self.time.now();
        let (before_bytes, ticket) = if asked.namespace.is_empty() {
            who.check_everywhere(Right::Admin).map_err(status)?;
            quota::check(None, asked.bytes).map_err(status)?;
            let before = self.log.quota().map_err(|e| status(store_failure(e)))?.0;
            (before, self.own.set_quota(asked.bytes, now).map_err(|e| status(store_failure(e)))?)
        } else {
            who.check_named(Right::Admin, &asked.namespace).map_err(status)?;
            self.namespaces.set_quota(&asked.namespace, asked.bytes, now).map_err(status)?
        };
        ticket.await.map_err(|e| status(store_failure(e)))?;
        Ok(Response::new(v1::SetQuotaResponse { before_bytes }))
    }

    async fn usage(
        &self,
        _request: Request<v1::UsageRequest>,
    ) -> Result<Response<v1::UsageResponse>, Status> {
        let (quota_bytes, folder_bytes) = self.log.quota().map_err(|e| status(store_failure(e)))?;
        let blobs = self.blobs.store().usage();
        let usage = |namespace: &Arc<Namespace>| {
            let used = self.log.used().of(namespace.id()).look();
            v1::NamespaceUsage {
                name: namespace.name.clone(),
                namespace: namespace.id().0,
                records: used.records,
                record_bytes: used.record_bytes,
                blobs: used.blobs,
                blob_bytes: used.blob_bytes,
                quota_bytes: used.limit,
            }
        };
        Ok(Response::new(v1::UsageResponse {
            folder_bytes,
            quota_bytes,
            disk_free_bytes: self.log.disk_free_bytes().map_err(|e| status(store_failure(e)))?,
            orphan_bytes: blobs.orphan_bytes,
            namespaces: self.namespaces.list().iter().map(usage).collect(),
        }))
    }

    async fn upkeep(
        &self,
        _request: Request<v1::UpkeepRequest>,
    ) -> Result<Response<v1::UpkeepResponse>, Status> {
        let keeper = self.keeper.clone();
        // Whether damage is still there is looked up under the store's locks.
        let look = tokio::task::spawn_blocking(move || keeper.look()).await;
        look.map(Response::new).map_err(|e| status(Failure::new(Kind::Bug, e.to_string())))
    }
}
