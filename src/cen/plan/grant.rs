//! Permissions of networks for CEN instances.

use super::Planner;
use crate::cen::change::Change;
use crate::cen::command::{GrantInstance, RevokeInstance};
use crate::cen::error::ApiError;
use crate::cen::grant::Grant;
use crate::cen::identifier::CenId;
use crate::cen::network::NetworkId;

impl Planner<'_> {
    /// Granting again changes nothing.
    pub(super) fn grant_instance(&mut self, grant: &GrantInstance) -> Result<(), ApiError> {
        let GrantInstance { network, cen, cen_owner, own_account } = grant;
        self.check_network(network)?;
        if *own_account && !self.state.cens.contains_key(cen) {
            let message = format!("The account has no CEN instance {cen}.");
            return Err(ApiError::bad_request("IllegalParam.CenInstanceId", message));
        }
        let same = |known: &Grant| known.is_of(network, cen) && known.cen_owner == *cen_owner;
        if !self.state.grants.iter().any(same) {
            let (network, cen) = (network.clone(), cen.clone());
            self.push(Change::Granted(Grant { network, cen, cen_owner: *cen_owner, created: self.now }));
        }
        Ok(())
    }

    /// Revoking what was not granted changes nothing.
    pub(super) fn revoke_instance(&mut self, revoke: &RevokeInstance) -> Result<(), ApiError> {
        let RevokeInstance { network, cen } = revoke;
        self.check_network(network)?;
        if self.state.attachments.get(network).is_some_and(|attachment| attachment.cen == *cen) {
            let message = format!("Current Instance status does not support this operation: it is attached to {cen}.");
            return Err(ApiError::bad_request("IncorrectStatus", message));
        }
        if self.state.grants.iter().any(|known| known.is_of(network, cen)) {
            self.push(Change::Revoked { network: network.clone(), cen: cen.clone() });
        }
        Ok(())
    }

    /// Takes away what the network has granted, together with the network.
    pub(super) fn revoke_all(&mut self, network: &NetworkId) {
        let of_network = self.state.grants.iter().filter(|known| known.network == *network);
        let revoked = of_network.map(|known| Change::Revoked { network: network.clone(), cen: known.cen.clone() });
        self.changes.extend(revoked);
    }

    /// Takes away what was granted to a CEN instance, together with it.
    pub(super) fn revoke_for(&mut self, cen: &CenId) {
        let for_cen = self.state.grants.iter().filter(|known| known.cen == *cen);
        let revoked = for_cen.map(|known| Change::Revoked { network: known.network.clone(), cen: cen.clone() });
        self.changes.extend(revoked);
    }

    fn check_network(&self, network: &NetworkId) -> Result<(), ApiError> {
        let (there, code) = match network {
            NetworkId::Vpc(id) => (self.state.vpcs.contains_key(id), "InvalidInstanceId.NotFound"),
            NetworkId::Vbr(id) => (self.state.vbrs.contains_key(id), "InvalidVbr.NotFound"),
        };
        let missing = || ApiError::not_found(code, "Specified Instance does not exist.");
        there.then_some(()).ok_or_else(missing)
    }
}
