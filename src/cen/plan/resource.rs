//! Names, descriptions and tags, which all resources have alike.

use super::Planner;
use super::attachment::cen;
use crate::cen::change::Change;
use crate::cen::command::MoveToResourceGroup;
use crate::cen::error::ApiError;
use crate::cen::network::Tag;
use crate::cen::resource::{ModifyAttributes, ResourceId, TagResources, UntagResources};

/// Tags of one resource at most.
const TAGS: usize = 20;

/// The fields that resources have in common.
struct Labels<'a> {
    name: &'a mut String,
    description: &'a mut String,
    tags: &'a mut Vec<Tag>,
    /// Only a VPN gateway has this.
    auto_propagate: Option<&'a mut bool>,
    /// Only a route table has this.
    route_propagation: Option<&'a mut bool>,
}

/// Those of a resource that has all of them.
macro_rules! labels {
    ($resource:ident) => {
        Labels {
            name: &mut $resource.name,
            description: &mut $resource.description,
            tags: &mut $resource.tags,
            auto_propagate: None,
            route_propagation: None,
        }
    };
}

impl Planner<'_> {
    pub(super) fn modify_attributes(&mut self, modify: &ModifyAttributes) -> Result<(), ApiError> {
        self.relabel(&modify.resource, |labels| {
            if let Some(name) = &modify.name {
                labels.name.clone_from(name);
            }
            if let Some(description) = &modify.description {
                labels.description.clone_from(description);
            }
            if let (Some(new), Some(auto_propagate)) = (modify.auto_propagate, labels.auto_propagate) {
                *auto_propagate = new;
            }
            if let (Some(new), Some(route_propagation)) = (modify.route_propagation, labels.route_propagation) {
                *route_propagation = new;
            }
            Ok(())
        })
    }

    pub(super) fn tag_resources(&mut self, tag: &TagResources) -> Result<(), ApiError> {
        tag.resources.iter().try_for_each(|resource| {
            self.relabel(resource, |labels| {
                for tag in &tag.tags {
                    match labels.tags.iter_mut().find(|known| known.key == tag.key) {
                        Some(known) => known.value.clone_from(&tag.value),
                        None => labels.tags.push(tag.clone()),
                    }
                }
                if labels.tags.len() > TAGS {
                    let message = "The maximum number of tags of a resource is exceeded.";
                    return Err(ApiError::bad_request("QuotaExceeded.TagsPerResource", message));
                }
                Ok(())
            })
        })
    }

    pub(super) fn untag_resources(&mut self, untag: &UntagResources) -> Result<(), ApiError> {
        untag.resources.iter().try_for_each(|resource| {
            self.relabel(resource, |labels| {
                match &untag.keys {
                    Some(keys) => labels.tags.retain(|tag| !keys.contains(&tag.key)),
                    None => labels.tags.clear(),
                }
                Ok(())
            })
        })
    }

    pub(super) fn move_to_resource_group(&mut self, to: &MoveToResourceGroup) -> Result<(), ApiError> {
        let (resource, group) = (to.resource.as_str(), &to.group);
        if to.resource.region(self.state).is_none() {
            let message = format!("The specified resource {resource} does not exist.");
            return Err(ApiError::not_found("ResourceNotFound", message));
        }
        if self.state.resource_group(resource) != group {
            self.push(Change::ResourceGroupSet { resource: resource.to_owned(), group: group.clone() });
        }
        Ok(())
    }

    /// Puts a new resource into its resource group, if that is not the default one.
    pub(super) fn join_resource_group(&mut self, resource: &str, group: &str) {
        if !group.is_empty() {
            self.push(Change::ResourceGroupSet { resource: resource.to_owned(), group: group.to_owned() });
        }
    }

    /// Forgets the resource group of a resource that goes.
    pub(super) fn leave_resource_group(&mut self, resource: &str) {
        if self.state.resource_groups.contains_key(resource) {
            self.push(Change::ResourceGroupSet { resource: resource.to_owned(), group: String::new() });
        }
    }

    fn relabel(
        &mut self,
        resource: &ResourceId,
        change: impl FnOnce(Labels<'_>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        // A connection has no description.
        let mut none = String::new();
        let set = match resource {
            ResourceId::Cen(id) => {
                let mut new = cen(self.state, id)?.clone();
                change(labels!(new))?;
                Change::CenSet(new)
            }
            ResourceId::Vpc(id) => {
                let mut new = self.vpc(id)?.clone();
                // By this name the configuration knows it, whatever it is called later.
                new.created_as.get_or_insert_with(|| new.name.clone());
                change(labels!(new))?;
                Change::VpcSet(new)
            }
            ResourceId::VSwitch(id) => {
                let mut new = self.vswitch(id)?.clone();
                change(labels!(new))?;
                Change::VSwitchSet(new)
            }
            ResourceId::RouteTable(id) => {
                let mut new = self.route_table(id)?.clone();
                let route_propagation = Some(&mut new.route_propagation);
                change(Labels { route_propagation, ..labels!(new) })?;
                Change::RouteTableSet(new)
            }
            ResourceId::VpnGateway(id) => {
                let mut new = self.vpn_gateway(id)?.clone();
                new.created_as.get_or_insert_with(|| new.name.clone());
                let auto_propagate = Some(&mut new.auto_propagate);
                change(Labels { auto_propagate, ..labels!(new) })?;
                Change::VpnGatewaySet(new)
            }
            ResourceId::CustomerGateway(id) => {
                let mut new = self.customer_gateway(id)?.clone();
                change(labels!(new))?;
                Change::CustomerGatewaySet(new)
            }
            ResourceId::VpnConnection(id) => {
                let mut new = self.vpn_connection(id)?.clone();
                let (name, tags) = (&mut new.name, &mut new.tags);
                change(Labels { name, description: &mut none, tags, auto_propagate: None, route_propagation: None })?;
                Change::VpnConnectionSet(Box::new(new))
            }
        };
        self.push(set);
        Ok(())
    }
}
