//! The records of the release in the cluster: read, begun, ended.

use super::CloudError;
use super::cluster::Cluster;
use crate::keadm::chart::{NAMESPACE, RELEASE};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::release::{self, Release, Status};
use crate::kubernetes::resource::SECRETS;
use crate::kubernetes::{CallError, Request};

/// All revisions that are kept, the oldest first.
pub struct Records(Vec<Record>);

/// One revision, and the version of the Secret that holds it.
#[derive(Clone)]
pub struct Record {
    pub release: Release,
    version: String,
}

impl Records {
    pub fn read(cluster: &Cluster) -> Result<Records, CloudError> {
        let list = Request::list(&SECRETS, Some(NAMESPACE))
            .with("labelSelector", release::selector(RELEASE));
        let mut records = Vec::new();
        for secret in cluster.list(&list)? {
            records.push(Record::of(&secret)?);
        }
        records.sort_by_key(|record| record.release.revision());
        Ok(Records(records))
    }

    pub fn newest(&self) -> Option<&Record> {
        self.0.last()
    }

    /// The newest that was deployed and still counts.
    pub fn deployed(&self) -> Option<&Record> {
        let mut newest_first = self.0.iter().rev();
        newest_first.find(|record| record.release.status() == Status::Deployed)
    }

    /// Those whose objects may be in the cluster: from the deployed one on.
    pub fn since_deployed(&self) -> &[Record] {
        let from = self.deployed().map_or(0, |it| it.release.revision());
        let first = self.0.iter().position(|it| it.release.revision() >= from);
        self.0.get(first.unwrap_or(0)..).unwrap_or_default()
    }

    pub fn all(&self) -> &[Record] {
        &self.0
    }

    /// All but one.
    pub fn without(&self, revision: u64) -> Records {
        let others = self.0.iter().filter(|it| it.release.revision() != revision);
        Records(others.cloned().collect())
    }
}

impl Record {
    fn of(secret: &Object) -> Result<Record, CloudError> {
        Ok(Record {
            release: Release::read(secret)?,
            version: object::version(secret).to_owned(),
        })
    }

    /// Writes a new revision; whoever comes second with the same number is told.
    pub fn begin(cluster: &Cluster, release: Release) -> Result<Record, CloudError> {
        let secret = release.secret(cluster.now(), true);
        let create = Request::create(&SECRETS, Some(NAMESPACE), &secret);
        match cluster.object(&create) {
            Ok(kept) => Ok(Record {
                release,
                version: object::version(&kept).to_owned(),
            }),
            Err(error) if error.is_taken() => Err(CloudError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes how it stands now, unless somebody else has written meanwhile.
    pub fn mark(
        &mut self,
        cluster: &Cluster,
        status: Status,
        description: &str,
    ) -> Result<(), CloudError> {
        self.release.set_status(status, description);
        let mut secret = self.release.secret(cluster.now(), false);
        secret["metadata"]["resourceVersion"] = self.version.clone().into();
        let name = self.release.secret_name();
        let replace = Request::replace(&SECRETS, Some(NAMESPACE), &name, &secret);
        match cluster.object(&replace) {
            Ok(kept) => {
                self.version = object::version(&kept).to_owned();
                Ok(())
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Err(CloudError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes it away; that it is gone already is no fault.
    pub fn forget(&self, cluster: &Cluster) -> Result<(), CallError> {
        let name = self.release.secret_name();
        match cluster.ask(&Request::delete(&SECRETS, Some(NAMESPACE), &name)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
