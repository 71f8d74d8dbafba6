//! Sizes of virtual machines. Nothing is made here, and a compute may name any size; but `azureml-core` 1.61 asks for no compute instance of
//! a size that is not in this list, whatever the region.

use axum::Json;
use habeas_access::Permission;
use habeas_store::Tx;
use serde_json::{Value, json};

use super::call::Call;
use super::errors::Result;

/// A size, as Azure's documentation of virtual machines describes it.
struct Size {
    name: &'static str,
    family: &'static str,
    processors: u32,
    graphics_processors: u32,
    /// Memory, in GiB.
    memory: f64,
    /// The disk of its own, in GiB.
    disk: u32,
}

const fn size(
    name: &'static str,
    family: &'static str,
    (processors, graphics_processors): (u32, u32),
    memory: f64,
    disk: u32,
) -> Size {
    Size { name, family, processors, graphics_processors, memory, disk }
}

/// Those that scripts and tutorials of Azure ML ask for.
const SIZES: [Size; 34] = [
    size("Standard_D1_v2", "standardDv2Family", (1, 0), 3.5, 50),
    size("Standard_D2_v2", "standardDv2Family", (2, 0), 7.0, 100),
    size("Standard_D3_v2", "standardDv2Family", (4, 0), 14.0, 200),
    size("Standard_D4_v2", "standardDv2Family", (8, 0), 28.0, 400),
    size("Standard_D11_v2", "standardDv2Family", (2, 0), 14.0, 100),
    size("Standard_D12_v2", "standardDv2Family", (4, 0), 28.0, 200),
    size("Standard_D13_v2", "standardDv2Family", (8, 0), 56.0, 400),
    size("Standard_D14_v2", "standardDv2Family", (16, 0), 112.0, 800),
    size("Standard_DS1_v2", "standardDSv2Family", (1, 0), 3.5, 7),
    size("Standard_DS2_v2", "standardDSv2Family", (2, 0), 7.0, 14),
    size("Standard_DS3_v2", "standardDSv2Family", (4, 0), 14.0, 28),
    size("Standard_DS4_v2", "standardDSv2Family", (8, 0), 28.0, 56),
    size("Standard_DS5_v2", "standardDSv2Family", (16, 0), 56.0, 112),
    size("Standard_DS11_v2", "standardDSv2Family", (2, 0), 14.0, 28),
    size("Standard_DS12_v2", "standardDSv2Family", (4, 0), 28.0, 56),
    size("Standard_D2s_v3", "standardDSv3Family", (2, 0), 8.0, 16),
    size("Standard_D4s_v3", "standardDSv3Family", (4, 0), 16.0, 32),
    size("Standard_D8s_v3", "standardDSv3Family", (8, 0), 32.0, 64),
    size("Standard_E4s_v3", "standardESv3Family", (4, 0), 32.0, 64),
    size("Standard_E8s_v3", "standardESv3Family", (8, 0), 64.0, 128),
    size("Standard_F2s_v2", "standardFSv2Family", (2, 0), 4.0, 16),
    size("Standard_F4s_v2", "standardFSv2Family", (4, 0), 8.0, 32),
    size("Standard_F8s_v2", "standardFSv2Family", (8, 0), 16.0, 64),
    size("Standard_F16s_v2", "standardFSv2Family", (16, 0), 32.0, 128),
    size("Standard_NC6", "standardNCFamily", (6, 1), 56.0, 340),
    size("Standard_NC12", "standardNCFamily", (12, 2), 112.0, 680),
    size("Standard_NC24", "standardNCFamily", (24, 4), 224.0, 1_440),
    size("Standard_NC6s_v2", "standardNCSv2Family", (6, 1), 112.0, 736),
    size("Standard_NC6s_v3", "standardNCSv3Family", (6, 1), 112.0, 736),
    size("Standard_NC12s_v3", "standardNCSv3Family", (12, 2), 224.0, 1_474),
    size("Standard_NC24s_v3", "standardNCSv3Family", (24, 4), 448.0, 2_948),
    size("Standard_NC4as_T4_v3", "standardNCASv3Family", (4, 1), 28.0, 180),
    size("Standard_NC8as_T4_v3", "standardNCASv3Family", (8, 1), 56.0, 360),
    size("Standard_NV6", "standardNVFamily", (6, 1), 56.0, 340),
];

/// `VirtualMachineSizes_List`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let allowed = move |tx: &mut Tx<'_>| crate::scope::holder(tx, &actor, &subscription, Permission::Read);
    call.app.store().read(allowed).await?;
    let sizes: Vec<Value> = SIZES.iter().map(shape).collect();
    // The names of 2019 and of 2020.
    Ok(Json(json!({ "amlCompute": sizes, "value": sizes })))
}

fn shape(size: &Size) -> Value {
    json!({
        "name": size.name,
        "family": size.family,
        "vCPUs": size.processors,
        "gpus": size.graphics_processors,
        "memoryGB": size.memory,
        "maxResourceVolumeMB": size.disk * 1_024,
        "osVhdSizeMB": 1_047_552,
        "lowPriorityCapable": true,
        "premiumIO": size.family.contains("Sv"),
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    })
}
