//! The service about the node itself.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::ids::NodeId;
use larder_format::namespace::{Class, Namespace};
use larder_wire::answer::Failure;
use larder_wire::v1;
use tonic::{Request, Response, Status};

use super::status;
use crate::blobs::Blobs;
use crate::namespaces::{Namespaces, check_order};
use crate::registers::{Registers, store_failure};
use crate::server::Health;
use crate::time::NodeTime;

pub(crate) struct NodeService {
    pub(crate) node_id: NodeId,
    pub(crate) registers: Arc<Registers>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) health: Arc<Health>,
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
        Ok(Response::new(v1::StatusResponse {
            node_id: bytes::Bytes::copy_from_slice(&self.node_id.0),
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
        }))
    }

    async fn create_namespace(
        &self,
        request: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        let settings = Namespace::decode(request.into_inner().settings)
            .map_err(|e| status(Failure::new(Kind::Invalid, e.to_string())))?;
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
}
