//! An established IKE SA: what it is, its Child SAs, and what it is about, joined. What happens in an exchange is decided in
//! [`crate::ike::exchange`]; here it is carried out.

mod input;
pub(in crate::ike) mod liveness;
mod timers;

use std::time::Duration;

use crate::ike::agenda::Agenda;
use crate::ike::channel::{Channel, OpenedMessage};
use crate::ike::child::ChildPair;
use crate::ike::children::Children;
use crate::ike::context::Context;
use crate::ike::ended::Ended;
use crate::ike::error::Unsendable;
use crate::ike::event::Removal;
use crate::ike::exchange::Exchange;
use crate::ike::exchange::inform;
use crate::ike::exchange::next::{Next, Request, Succession};
use crate::ike::exchange::rekey::RekeyIke;
use crate::ike::exchange::task::Task;
use crate::ike::failure::Failure;
use crate::ike::sa::{Cause, Establishing, Phase, Sa};
use crate::ike::successor::Successor;
use crate::ike::tasks::Tasks;
use crate::wire::ike::Payload;

/// How long a request under way is waited for between transmissions once the IKE SA is to go.
const CLOSING_WAIT: Duration = Duration::from_millis(500);

/// An IKE SA whose peer is authenticated: its three parts, joined.
pub(in crate::ike) struct Established {
    sa: Sa,
    children: Children,
    agenda: Agenda,
    /// A message that it cannot do without does not fit the wire.
    broken: Option<Unsendable>,
    /// IKE SAs that came of rekeys of this one, until the endpoint adopts them.
    successors: Vec<Successor>,
    /// The peer said that it knows no other IKE SA with us (RFC 7296 2.4); for the endpoint to act on once.
    pub(in crate::ike) initial_contact: bool,
}

impl Established {
    pub(in crate::ike) fn new(establishing: Establishing, pairs: Vec<ChildPair>, cx: &mut Context<'_>) -> Self {
        let sa = Sa::new(establishing, cx);
        Self::of(Successor { children: Children::new(sa.association().clone(), pairs), sa, tasks: Tasks::default() })
    }

    /// One that came of a rekey.
    pub(in crate::ike) fn of(successor: Successor) -> Self {
        let Successor { sa, children, tasks } = successor;
        Self { sa, children, agenda: Agenda::new(tasks), broken: None, successors: Vec::new(), initial_contact: false }
    }

    pub(in crate::ike) fn sa(&self) -> &Sa {
        &self.sa
    }

    pub(in crate::ike) fn channel_mut(&mut self) -> &mut Channel {
        self.sa.channel_mut()
    }

    pub(in crate::ike) fn children(&self) -> &Children {
        &self.children
    }

    /// Lets somebody work on the parts, and starts what there is to do then.
    pub(in crate::ike) fn act(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Sa, &mut Children, &mut Agenda, &mut Context<'_>),
    ) {
        work(&mut self.sa, &mut self.children, &mut self.agenda, cx);
        self.advance(cx);
    }

    /// Starts what waits, as the window allows.
    pub(in crate::ike) fn advance(&mut self, cx: &mut Context<'_>) {
        while self.agenda.is_free() && self.sa.channel().is_free() {
            let owed = inform::is_due(&self.sa, cx).then_some(Task::Inform);
            let Some(task) = self.agenda.tasks.next().or(owed) else { return };
            let next = Exchange::start(task, &mut self.sa, &mut self.children, cx);
            self.carry_out(next, cx);
        }
    }

    /// Carries out what comes after a step of an exchange.
    fn carry_out(&mut self, mut next: Next<Exchange>, cx: &mut Context<'_>) {
        loop {
            match next {
                Next::Done => return,
                Next::Sent(exchange) => return self.agenda.exchange = Some(exchange),
                Next::Succeeded(succession) => return self.succeed(*succession, cx),
                Next::Send(Request { kind, payloads, policy, exchange }) => {
                    let Self { sa, children, agenda, .. } = self;
                    let sent = match policy {
                        Some(policy) => sa.channel_mut().request_with(kind, &payloads, policy, cx),
                        None => sa.channel_mut().request(kind, &payloads, cx),
                    };
                    let Err(unsendable) = sent else { return self.agenda.exchange = Some(exchange) };
                    match exchange.not_sent(unsendable, sa, children, &mut agenda.tasks, cx) {
                        Ok(after) => next = after,
                        Err(unsendable) => return self.broken = Some(unsendable),
                    }
                }
            }
        }
    }

    /// Answers a request. An answer that does not fit a message ends the IKE SA: the peer would wait for it in vain.
    fn answer(&mut self, request: &OpenedMessage, payloads: &[Payload], cx: &mut Context<'_>) {
        if let Err(unsendable) = self.sa.channel_mut().respond(request, payloads, cx) {
            self.broken = Some(unsendable);
        }
    }

    // Its end, and what comes after it.

    /// Closes it: the Child SAs go at once, the peer is told.
    pub(in crate::ike) fn close(&mut self, cause: Cause, removal: Removal, cx: &mut Context<'_>) {
        if matches!(self.sa.phase(), Phase::Closing(_)) {
            return;
        }
        self.sa.set_phase(Phase::Closing(cause));
        remove_children(&mut self.children, &self.agenda, removal, cx);
        self.agenda.tasks = Tasks::only(Task::DeleteIke);
        self.sa.channel_mut().window_mut().hasten(CLOSING_WAIT, cx.now);
        self.advance(cx);
    }

    /// Goes on, unless a message that it cannot do without did not fit the wire.
    pub(in crate::ike) fn unless_broken(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        let Some(unsendable) = self.broken.take() else { return Ok(self) };
        let failure = Failure::Unsendable(unsendable);
        self.sa.tell(failure.clone(), cx);
        let mut ended = self.end(Cause::Refused, failure, Removal::IkeSaLost, cx);
        if let Some(mut channel) = ended.channel.take().filter(|channel| channel.is_free()) {
            channel.delete_once(cx);
        }
        Err(ended)
    }

    /// Its end. What is left of its pairs goes, for this reason, unless a rekey of the peer's takes over: a rekey of ours is
    /// forgotten (RFC 7296 2.25.2). The channel is the caller's, who knows whether the peer may repeat its last request.
    fn end(mut self, cause: Cause, error: impl Into<Option<Failure>>, removal: Removal, cx: &mut Context<'_>) -> Ended {
        self.give_way_to_rival(cx);
        remove_children(&mut self.children, &self.agenda, removal, cx);
        let (error, channel) = (error.into().map(Box::new), Some(Box::new(self.sa.into_channel())));
        Ended { cause, error, channel, successors: self.successors }
    }

    pub(in crate::ike) fn take_successors(&mut self) -> Vec<Successor> {
        std::mem::take(&mut self.successors)
    }

    /// Others take its place.
    fn succeed(&mut self, succession: Succession, cx: &mut Context<'_>) {
        let Succession { heir, superfluous, replaced } = succession;
        self.successors.extend(superfluous.into_iter().map(Successor::superfluous));
        if let Some(sa) = heir {
            let heir = Successor::heir(sa, &mut self.children, &mut self.agenda.tasks, cx);
            self.successors.push(heir);
        }
        match replaced {
            Phase::Closing(cause) => self.close(cause, Removal::Closed, cx),
            phase => self.sa.set_phase(phase),
        }
    }

    pub(in crate::ike) fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// The peer goes on with its IKE SA, so ours would be the redundant one. Its answer to our request, which may never
    /// come, is not waited for.
    pub(in crate::ike) fn yield_to_rival(&mut self, cx: &mut Context<'_>) {
        self.give_way_to_rival(cx);
        if matches!(self.sa.phase(), Phase::Passive(_)) {
            self.sa.channel_mut().answered();
        }
    }

    /// This IKE SA goes before a rekey of ours is answered: a rekey of the peer's takes over, if there is one.
    fn give_way_to_rival(&mut self, cx: &mut Context<'_>) {
        match self.agenda.exchange.take() {
            Some(Exchange::RekeyIke(exchange)) => {
                let next = RekeyIke::give_way(*exchange, &self.sa, cx.now);
                self.carry_out(next.map(|exchange| Exchange::RekeyIke(Box::new(exchange))), cx);
            }
            other => self.agenda.exchange = other,
        }
    }
}

/// Takes every pair from the data path.
fn remove_children(children: &mut Children, agenda: &Agenda, reason: Removal, cx: &mut Context<'_>) {
    if let Some(exchange) = &agenda.exchange {
        exchange.abandon(cx);
    }
    agenda.tasks.abandon(cx);
    children.remove_all(reason, cx);
}

#[cfg(test)]
impl Established {
    /// As if so many messages had been exchanged.
    pub(in crate::ike) fn skip_to(&mut self, message_id: u32) {
        self.sa.channel_mut().skip_to(message_id);
    }
}
