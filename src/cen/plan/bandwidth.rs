//! Bandwidth packages, and the limits that are taken from them.

use super::attachment::cen;
use super::{Planner, still_referred_to};
use crate::cen::bandwidth::{BandwidthLimit, BandwidthPackage, pair};
use crate::cen::change::Change;
use crate::cen::command::BandwidthCommand;
use crate::cen::error::ApiError;
use crate::cen::identifier::{BandwidthPackageId, CenId};

impl<'a> Planner<'a> {
    pub(super) fn bandwidth(&mut self, command: &BandwidthCommand) -> Result<(), ApiError> {
        match command {
            BandwidthCommand::Create(package) => {
                self.push(Change::BandwidthPackageSet(package.clone()));
                Ok(())
            }
            BandwidthCommand::Modify { id, name, description, bandwidth } => {
                let mut new = self.package(id)?.clone();
                new.name.clone_from(name.as_ref().unwrap_or(&self.package(id)?.name));
                new.description.clone_from(description.as_ref().unwrap_or(&self.package(id)?.description));
                if let Some(bandwidth) = bandwidth {
                    new.bandwidth = *bandwidth;
                    self.check_used(&new, 0)?;
                }
                self.push(Change::BandwidthPackageSet(Box::new(new)));
                Ok(())
            }
            BandwidthCommand::Delete { id } => {
                if let Some((cen, _)) = &self.package(id)?.serves {
                    let code = "InvalidOperation.BandwidthPackageStatus";
                    let refusal = still_referred_to(code, id.as_str(), &[cen.to_string()]);
                    return Err(ApiError { http_status: 409, ..refusal });
                }
                self.push(Change::BandwidthPackageRemoved(id.clone()));
                Ok(())
            }
            BandwidthCommand::Associate { cen: to, id } => self.associate(to, id),
            BandwidthCommand::Unassociate { cen: from, id } => self.unassociate(from, id),
            BandwidthCommand::SetLimit { cen, regions, limit } => self.set_limit(cen, regions, *limit),
        }
    }

    /// Of one pair of areas a CEN instance has one package.
    fn associate(&mut self, to: &CenId, id: &BandwidthPackageId) -> Result<(), ApiError> {
        cen(self.state, to)?;
        let package = self.package(id)?;
        match &package.serves {
            Some((serves, _)) if serves == to => return Ok(()),
            Some((serves, _)) => {
                let message = format!("The bandwidth package is already associated with {serves}.");
                return Err(ApiError::conflict("InvalidOperation.CenBandwidthPackageAssociated", message));
            }
            None => {}
        }
        if let Some(other) = self.package_between(to, &package.areas) {
            let message = format!("The CEN instance has a bandwidth package between these areas: {}.", other.id);
            return Err(ApiError::conflict("InvalidOperation.CenBandwidthPackageAlreadyExist", message));
        }
        let serves = Some((to.clone(), self.now));
        self.push(Change::BandwidthPackageSet(Box::new(BandwidthPackage { serves, ..package.clone() })));
        Ok(())
    }

    fn unassociate(&mut self, from: &CenId, id: &BandwidthPackageId) -> Result<(), ApiError> {
        cen(self.state, from)?;
        let package = self.package(id)?;
        if package.serves.as_ref().is_none_or(|(serves, _)| serves != from) {
            let message = format!("The bandwidth package is not associated with {from}.");
            return Err(ApiError::conflict("InvalidOperation.BandwidthPackageStatus", message));
        }
        let limits: Vec<String> = self.limits_within(package).map(|limit| regions_text(&limit.regions)).collect();
        if !limits.is_empty() {
            let message =
                format!("Bandwidth limits use the bandwidth package: set them to 0 first: {}.", limits.join(", "));
            return Err(ApiError::bad_request("InvalidOperation.CenBandwidthLimitsNotZero", message));
        }
        self.push(Change::BandwidthPackageSet(Box::new(BandwidthPackage { serves: None, ..package.clone() })));
        Ok(())
    }

    fn set_limit(&mut self, id: &CenId, regions: &(String, String), limit: u32) -> Result<(), ApiError> {
        cen(self.state, id)?;
        let (local, opposite) = regions;
        if local == opposite {
            return Err(ApiError::invalid("OppositeRegionId"));
        }
        let new = BandwidthLimit { cen: id.clone(), regions: pair(local.clone(), opposite.clone()), limit };
        let attached =
            |region: &str| self.state.attached_to(id).any(|(network, _)| self.state.region_of(network) == Some(region));
        if limit > 0 {
            if let Some(region) = [local, opposite].into_iter().find(|region| !attached(region)) {
                let message = format!("No network of the region is attached to the CEN instance: {region}.");
                return Err(ApiError::bad_request("InvalidOperation.NoChildInstanceEitherRegion", message));
            }
            let areas = new.areas().ok_or_else(|| ApiError::invalid("LocalRegionId"))?;
            let areas = (areas.0.to_owned(), areas.1.to_owned());
            let package = self.package_between(id, &areas).ok_or_else(|| {
                let message = format!("The CEN instance has no bandwidth package between {} and {}.", areas.0, areas.1);
                ApiError::bad_request("InvalidOperation.NoBandwidthPackage", message)
            })?;
            let present = self.limits_within(package).find(|present| present.regions == new.regions);
            let others = limit.saturating_sub(present.map_or(0, |present| present.limit));
            if present.is_none_or(|present| present.limit < limit) {
                self.check_used(package, others)?;
            }
        }
        self.push(Change::BandwidthLimitSet(new));
        Ok(())
    }

    /// Whether a package has room for its limits and so much more.
    fn check_used(&self, package: &BandwidthPackage, more: u32) -> Result<(), ApiError> {
        let used: u32 = self.limits_within(package).map(|limit| limit.limit).fold(more, u32::saturating_add);
        if used <= package.bandwidth {
            return Ok(());
        }
        let message = format!("{} has {} Mbit/s, and {used} would be used.", package.id, package.bandwidth);
        Err(ApiError::bad_request("InvalidOperation.BandwidthNotEnough", message))
    }

    fn package(&self, id: &BandwidthPackageId) -> Result<&'a BandwidthPackage, ApiError> {
        let message = "The specified bandwidth package does not exist.";
        let missing = || ApiError::not_found("ParameterBwpInstanceId", message);
        self.state.bandwidth_packages.get(id).ok_or_else(missing)
    }

    fn package_between(&self, cen: &CenId, areas: &(String, String)) -> Option<&'a BandwidthPackage> {
        let serves = |package: &BandwidthPackage| package.serves.as_ref().is_some_and(|(serves, _)| serves == cen);
        self.state.bandwidth_packages.values().find(|package| serves(package) && package.areas == *areas)
    }

    /// The limits that a package serves.
    fn limits_within(&self, package: &BandwidthPackage) -> impl Iterator<Item = &'a BandwidthLimit> {
        let cen = package.serves.as_ref().map(|(cen, _)| cen.clone());
        let areas = package.areas.clone();
        self.state.bandwidth_limits.iter().filter(move |limit| {
            Some(&limit.cen) == cen.as_ref() && limit.areas() == Some((areas.0.as_str(), areas.1.as_str()))
        })
    }
}

/// Names of both regions of a limit.
fn regions_text(regions: &(String, String)) -> String {
    format!("{} and {}", regions.0, regions.1)
}
