//! Networks attached to CEN instances: the child instances.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::field::{is_asked, time_in_minutes, unsupported};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::Text;
use super::parameter::{Parameter, optional, required};
use super::rpc::Parameters;
use super::vpc::{OWNER, blocks};
use crate::cen::command::{ChildInstance, Command};
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::network::{NetworkId, NetworkKind};
use crate::cen::plan::attachment::{attached_table, cen};
use crate::cen::realism::{BLOCKING, CEN_STATUS, CHILD_STATUS, INSTANCE_STATUS, Kind, VPC_OF_CHILD};
use crate::cen::state::Attachment;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "AttachCenChildInstance",
        parameters: CHILD,
        handler: attach,
        busy: &[CEN_STATUS, BLOCKING, CHILD_STATUS, VPC_OF_CHILD],
    },
    Action {
        version: CBN,
        name: "DetachCenChildInstance",
        parameters: CHILD,
        handler: detach,
        busy: &[CEN_STATUS, BLOCKING, INSTANCE_STATUS],
    },
    Action {
        version: CBN,
        name: "DescribeCenAttachedChildInstances",
        parameters: &[
            PAGE_NUMBER,
            page_size(50),
            required("CenId", Text),
            optional("ChildInstanceType", Text),
            optional("ChildInstanceRegionId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: CBN,
        name: "DescribeCenAttachedChildInstanceAttribute",
        parameters: &[
            required("CenId", Text),
            CHILD_TYPE,
            required("ChildInstanceId", Text),
            required("ChildInstanceRegionId", Text),
        ],
        handler: describe_attribute,
        busy: &[],
    },
];

/// The row of the kind of child instance. A word that is none has a code of its own.
pub(super) const CHILD_TYPE: Parameter = required("ChildInstanceType", Text);

/// The rows of what attaches and detaches.
const CHILD: &[Parameter] = &[
    required("CenId", Text),
    CHILD_TYPE,
    required("ChildInstanceId", Text),
    required("ChildInstanceRegionId", Text),
    optional("ChildInstanceOwnerId", Text),
    optional("CenOwnerId", Text),
];

/// The child instance that a call names: `CenId`, `ChildInstanceId`, `ChildInstanceType` and `ChildInstanceRegionId`.
///
/// # Errors
/// `Missing…`, `ParameterIllegal.ChildInstanceType`.
pub(super) fn child(parameters: &Parameters) -> Result<ChildInstance, ApiError> {
    let kind = kind(parameters.required("ChildInstanceType")?)?;
    Ok(ChildInstance {
        cen: parameters.required("CenId")?.into(),
        network: kind.network(parameters.required("ChildInstanceId")?),
        region: parameters.required("ChildInstanceRegionId")?.to_owned(),
    })
}

pub(super) fn kind(name: &str) -> Result<NetworkKind, ApiError> {
    NetworkKind::from_api_name(name).ok_or_else(|| {
        let message = "The parameter of child instance type is illegal: VPC and VBR can be attached.";
        ApiError::bad_request("ParameterIllegal.ChildInstanceType", message)
    })
}

fn attach(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    check_owners(parameters)?;
    Ok(Answer::Write { command: Command::AttachNetwork(child(parameters)?), response: json!({}) })
}

fn detach(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    check_owners(parameters)?;
    Ok(Answer::Write { command: Command::DetachNetwork(child(parameters)?), response: json!({}) })
}

/// There is one account: nothing belongs to another.
fn check_owners(parameters: &Parameters) -> Result<(), ApiError> {
    let owner = OWNER.to_string();
    let foreign = |name: &&str| !is_asked(parameters, name, &owner);
    match ["ChildInstanceOwnerId", "CenOwnerId"].into_iter().find(foreign) {
        Some(name) => Err(unsupported(parameters, name)),
        None => Ok(()),
    }
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let id = CenId::from(parameters.required("CenId")?);
    cen(state, &id)?;
    let asked_kind = parameters.text("ChildInstanceType").map(kind).transpose()?;
    let children =
        state.attached_to(&id).filter(|(network, _)| asked_kind.is_none_or(|kind| network.kind() == kind)).filter(
            |(network, _)| is_asked(parameters, "ChildInstanceRegionId", state.region_of(network).unwrap_or_default()),
        );
    let shown = |(network, attachment): (&NetworkId, &Attachment)| shown(context, network, attachment);
    Ok(Answer::Read(page.of_each(children, shown, "ChildInstances", "ChildInstance")))
}

fn shown(context: &Context<'_>, network: &NetworkId, attachment: &Attachment) -> Value {
    let state = context.state;
    json!({
        "CenId": attachment.cen.as_str(),
        "ChildInstanceId": network.as_str(),
        "ChildInstanceType": network.kind().api_name(),
        "ChildInstanceRegionId": state.region_of(network).unwrap_or_default(),
        "ChildInstanceOwnerId": OWNER,
        "ChildInstanceAttachTime": time_in_minutes(attachment.attached),
        "Status": context.realism.status(Kind::Attachment, network.as_str(), "Attached"),
        "ManagedService": "",
    })
}

fn describe_attribute(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, child) = (context.state, child(parameters)?);
    // For this action alone the documents name another code.
    let missing = |error: ApiError| match error.code.as_ref() {
        "Instance.NotExist" => ApiError::not_found("ParameterError", "The parameter is error: no such child instance."),
        _ => error,
    };
    attached_table(state, &child).map_err(missing)?;
    let attachment = state.attachments.get(&child.network).ok_or_else(ApiError::internal)?;
    let (name, cidr, secondary) = match &child.network {
        NetworkId::Vpc(id) => {
            state.vpcs.get(id).map(|vpc| (vpc.name.clone(), vpc.cidr.to_string(), blocks(&vpc.secondary_cidrs)))
        }
        NetworkId::Vbr(id) => state.vbrs.get(id).map(|vbr| (vbr.name.clone(), String::new(), Vec::new())),
    }
    .unwrap_or_default();
    let mut object = shown(context, &child.network, attachment);
    if let Value::Object(fields) = &mut object {
        fields.insert("ChildInstanceName".to_owned(), name.into());
        let attributes = json!({
            "CidrBlock": cidr,
            "Ipv6CidrBlock": "",
            "Ipv6CidrBlocks": wrapped("ipv6CidrBlock", Vec::new()),
            "SecondaryCidrBlocks": wrapped("secondaryCidrBlock", secondary),
        });
        fields.insert("ChildInstanceAttributes".to_owned(), attributes);
    }
    Ok(Answer::Read(object))
}
