//! Route maps of CEN instances.

use super::Planner;
use super::attachment::cen;
use crate::cen::change::Change;
use crate::cen::command::RouteMapCommand;
use crate::cen::error::ApiError;
use crate::cen::route_map::{Direction, RouteMap};

/// Maps of one region and direction at most.
const MAPS: usize = 100;

impl<'a> Planner<'a> {
    pub(super) fn route_map(&mut self, command: &RouteMapCommand) -> Result<(), ApiError> {
        match command {
            RouteMapCommand::Create(map) => {
                cen(self.state, &map.cen)?;
                self.check_map(map)?;
                let beside = |other: &&RouteMap| (&other.region, other.direction) == (&map.region, map.direction);
                if self.state.route_maps_of(&map.cen).filter(beside).count() >= MAPS {
                    let message = "The number of route maps of the region and direction exceeds the limit.";
                    return Err(ApiError::bad_request("QuotaExceeded.RouteMap", message));
                }
                self.push(Change::RouteMapSet(map.clone()));
            }
            RouteMapCommand::Modify(map) => {
                let present = self.map(map)?;
                let new = RouteMap { direction: present.direction, ..RouteMap::clone(map) };
                self.check_map(&new)?;
                self.push(Change::RouteMapSet(Box::new(new)));
            }
            RouteMapCommand::Delete { cen: id, region, id: map } => {
                cen(self.state, id)?;
                let present = self.state.route_maps.get(map);
                present.filter(|map| map.cen == *id && map.region == *region).ok_or_else(missing)?;
                self.push(Change::RouteMapRemoved(map.clone()));
            }
        }
        Ok(())
    }

    /// The map of this id, at the gateway that the call names.
    fn map(&self, named: &RouteMap) -> Result<&'a RouteMap, ApiError> {
        cen(self.state, &named.cen)?;
        let map = self.state.route_maps.get(&named.id);
        map.filter(|map| map.cen == named.cen && map.region == named.region).ok_or_else(missing)
    }

    fn check_map(&self, map: &RouteMap) -> Result<(), ApiError> {
        if map.next_priority.is_some_and(|next| next != 1 && next <= map.priority) {
            let message = "The next priority has to be 1 or greater than the priority of the route map.";
            return Err(ApiError::bad_request("IllegalParam.NextPriority", message));
        }
        let ends = match map.direction {
            Direction::RegionIn => &map.conditions.source,
            Direction::RegionOut => &map.conditions.destination,
        };
        let is_here = map.direction == Direction::RegionOut || ends.regions == [map.region.as_str()];
        if !map.actions.prepend.is_empty() && (ends.instances.ids.is_empty() || !is_here) {
            let message = "AS paths are prepended to routes of named instances: of source instances in the region itself for \
                           RegionIn, to destination instances for RegionOut.";
            return Err(ApiError::bad_request("IllegalParam.PrependAsPath", message));
        }
        let place = RouteMapCommand::place(map);
        let mut others = self.state.route_maps_of(&map.cen).filter(|other| other.id != map.id);
        if others.any(|other| RouteMapCommand::place(other) == place) {
            let message = "The priority of the route map is already used in the region and direction.";
            return Err(ApiError::bad_request("InvalidOperation.PriorityConflict", message));
        }
        Ok(())
    }
}

/// The cloud's documents name no codes for route maps; those of this file follow the form of its others.
fn missing() -> ApiError {
    ApiError::not_found("InvalidRouteMapId.NotFound", "The specified route map does not exist.")
}
