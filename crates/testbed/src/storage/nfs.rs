//! NFS, version 3, served by nfs-ganesha, with rpcbind beside it: the folder of the images as a whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::Deadline;

use super::name;
use super::program::{Daemon, Ground};
use super::service::{START_LIMIT, Server};
use crate::{DiskPlace, Result};

const PACKAGES: &str = "nfs-ganesha, nfs-ganesha-vfs and rpcbind";
/// By their numbers (RFC 5531, section 8.1) rpcbind knows who serves files and who lets them be mounted.
const SERVICES: [&str; 2] = ["100003", "100005"];
const VERSION: &str = "3";

/// The server. It keeps no names: whoever knows an image's path has it.
#[derive(Debug, Default)]
pub(super) struct Nfs;

impl Server for Nfs {
    fn start(&mut self, ground: &Ground) -> Result<Vec<Daemon>> {
        let [rpcbind, rpcinfo] = ["rpcbind", "rpcinfo"].map(|program| ground.find(program, PACKAGES));
        let (rpcbind, rpcinfo, ganesha) = (rpcbind?, rpcinfo?, ground.find("ganesha.nfsd", PACKAGES)?);
        let run = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            ground.run(Path::new("/usr/bin/env"), &words)
        };
        run(&["mkdir", "-p", "/run/rpcbind", "/run/ganesha"])?;
        // As whom it runs has this name in Debian; where it has another, the folder is not missed.
        run(&["chown", "_rpc", "/run/rpcbind"])?;
        let deadline = Deadline::after(START_LIMIT);
        let at = ground.at.to_string();
        let ask = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Ok(ground
                .host
                .run(&rpcinfo, &words, Duration::from_secs(2))
                .is_ok_and(|it| it.success)
                .then_some(()))
        };
        let args = ["-f", "-h", &at].map(OsString::from).into();
        let mut daemons = vec![ground.launch("rpcbind", &rpcbind, args)?];
        ground.await_answer(&mut daemons, deadline, || ask(&["-p", &at]))?;

        let settings = ground.work.join("ganesha.conf");
        ground.host.remove(&settings)?;
        ground.host.write_private(&settings, configuration(ground).as_bytes())?;
        let log = ground.work.join("ganesha-own.log");
        let words: [OsString; 7] = [
            "-F".into(),
            "-f".into(),
            settings.into(),
            "-L".into(),
            log.clone().into(),
            "-p".into(),
            "/run/ganesha/ganesha.pid".into(),
        ];
        daemons.push(ground.launch("ganesha.nfsd", &ganesha, words.into())?.with_log(log));
        for service in SERVICES {
            ground.await_answer(&mut daemons, deadline, || ask(&["-t", &at, service, VERSION]))?;
        }
        Ok(daemons)
    }

    fn export(&mut self, ground: &Ground, image: &Path, _name: &str) -> Result<DiskPlace> {
        name::check_image(image, &ground.images)?;
        Ok(DiskPlace::Nfs { server: ground.at, path: PathBuf::from(image) })
    }

    fn withdraw(&mut self, _ground: &Ground, _name: &str) -> Result<()> {
        Ok(())
    }
}

/// Its settings (ganesha-core-config(8)): version 3 alone, which is what libnfs speaks, without locks, which no client of ours
/// asks for; nothing believed of a file that was true a while ago, as images are made and removed on the host itself; and what it
/// keeps of version 4, which it does not speak, where it goes with the host.
fn configuration(ground: &Ground) -> String {
    format!(
        "NFS_CORE_PARAM {{ Protocols = 3; Bind_addr = {at}; NFS_Port = 2049; MNT_Port = 20048; NLM_Port = 32803; \
         Rquota_Port = 875; Enable_NLM = false; Enable_RQUOTA = false; }}\n\
         NFSV4 {{ RecoveryBackend = fs; RecoveryRoot = /run/ganesha; }}\n\
         EXPORT_DEFAULTS {{ Squash = No_Root_Squash; SecType = sys; Access_Type = RW; Protocols = 3; Transports = TCP; \
         Attr_Expiration_Time = 0; }}\n\
         EXPORT {{ Export_Id = 77; Path = {folder}; Pseudo = /export; PrivilegedPort = false; FSAL {{ Name = VFS; }} }}\n",
        at = ground.at,
        folder = ground.images.display(),
    )
}
