//! Images of all kinds, and those that cannot be opened.

use std::fs;
use std::path::Path;
use std::process::Command;

use dunlin_hypervisor::{BackingImage, HypervisorError, VmDisk};
use dunlin_record::ImageFormat;
use dunlin_testbed::{DiskPlace, Network};

use crate::guest::{Deed, image};
use crate::moving::serve;
use crate::world::{World, disk, spec, until};

fn qemu_img(args: &[&str]) {
    let output = Command::new("qemu-img").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
}

fn qcow2(path: &Path) -> VmDisk {
    VmDisk { format: ImageFormat::Qcow2, ..disk(path) }
}

/// Whether a VM with a disk starts; why not.
fn start(world: &World, disk: VmDisk) -> Result<(), HypervisorError> {
    let spec = spec(vec![disk]);
    let (order, _told) = world.order(&spec);
    world.hypervisors[0].maker().unwrap().boot(&order).map(drop)
}

pub(crate) fn opened(world: &World) {
    let raw = world.file("a,b:c \"d\".raw");
    image(&raw, 8, Deed::ShutDown(2));
    // What lies below is what is said, whatever the header says.
    let (over, elsewhere) = (world.file("over,=:.qcow2"), world.file("else.raw"));
    image(&elsewhere, 8, Deed::Nothing);
    let [top, below] = [&over, &elsewhere].map(|path| path.to_str().unwrap());
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", top, "8M"]);
    fs::remove_file(&elsewhere).unwrap();
    let backing = Some(BackingImage { format: ImageFormat::Raw, path: raw.clone() });
    for disk in [disk(&raw), VmDisk { backing, ..qcow2(&over) }] {
        // It boots what is in it: it shuts itself down.
        let spec = spec(vec![disk]);
        let (order, _told) = world.order(&spec);
        let vm = world.hypervisors[0].maker().unwrap().boot(&order).unwrap();
        until("the guest's end", || vm.check_alive().is_err());
    }
    // Nothing lies below one of which nothing is said.
    start(world, qcow2(&over)).unwrap();
}

pub(crate) fn refused(world: &World) {
    let raw = world.file("raw.raw");
    image(&raw, 8, Deed::Nothing);
    let damaged = world.file("damaged.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", damaged.to_str().unwrap(), "8M"]);
    let mut bytes = fs::read(&damaged).unwrap();
    // Its table of clusters, said to lie nowhere.
    bytes[40..48].copy_from_slice(&[0x7f; 8]);
    fs::write(&damaged, bytes).unwrap();
    let over = world.file("over.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", over.to_str().unwrap(), "8M"]);
    let missing = Some(BackingImage { format: ImageFormat::Raw, path: world.file("missing.raw") });
    let address = world.hosts[1].address(Network::Migration).unwrap();
    let nobody = std::net::SocketAddrV4::new(address, 9);
    let served = world.file("served.raw");
    image(&served, 8, Deed::Nothing);
    let (_server, place) = serve(world, &served);
    let DiskPlace::Nbd { server, .. } = place else { panic!("{place:?}") };
    let at = |place| VmDisk { place, ..disk(&raw) };
    for (disk, words, mend) in [
        (qcow2(&raw), "not in qcow2 format", "vm.disk.format"),
        (qcow2(&damaged), "", "qemu-img check"),
        (disk(&world.file("nowhere.raw")), "No such file", "is it there"),
        (VmDisk { backing: missing, ..qcow2(&over) }, "missing.raw", "backing image"),
        (at(DiskPlace::Nbd { server: nobody, export: "disk".into() }), "refused", "server"),
        (at(DiskPlace::Nbd { server, export: "another".into() }), "not available", "export"),
    ] {
        let error = start(world, disk).unwrap_err();
        println!("{error}");
        let HypervisorError::Image { image, .. } = &error else { panic!("{error:?}") };
        assert_eq!(image.disk, "data");
        assert!(image.why.contains(words) && image.mend.contains(mend), "{error:?}");
    }
}

/// The older one lies here without the drivers of network storage.
pub(crate) fn without_drivers(world: &World) {
    if !world.old {
        return;
    }
    let server = [127, 0, 0, 1];
    let portal = std::net::SocketAddrV4::new(server.into(), 3260);
    for place in [
        DiskPlace::Nfs { server: server.into(), path: "/export/a.raw".into() },
        DiskPlace::Iscsi { portal, target: "iqn.2026-11.dunlin:disk".into(), lun: 1 },
    ] {
        let error = start(world, VmDisk { place, ..disk(Path::new("")) }).unwrap_err();
        println!("{error}");
        let HypervisorError::Image { image, .. } = &error else { panic!("{error:?}") };
        assert!(image.mend.contains("apt-get install qemu-block-extra"), "{error:?}");
    }
}

pub(crate) fn locked(world: &World) {
    let path = world.file("one.raw");
    image(&path, 8, Deed::Nothing);
    let spec = spec(vec![disk(&path)]);
    let (order, _told) = world.order(&spec);
    let one = world.hypervisors[0].maker().unwrap().boot(&order).unwrap();
    let Err(error) = world.hypervisors[1].maker().unwrap().boot(&order) else { panic!("two write it") };
    println!("{error}");
    let HypervisorError::Image { image, .. } = &error else { panic!("{error:?}") };
    assert!(image.mend.contains("another"), "{error:?}");
    one.check_alive().unwrap();
}
