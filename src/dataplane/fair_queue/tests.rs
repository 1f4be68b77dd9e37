use super::*;
use crate::dataplane::frame_pool::FramePool;
use std::time::Duration;

const PARAMETERS: CodelParameters =
    CodelParameters { target: Duration::from_millis(2), interval: Duration::from_millis(40) };
const BULK: usize = 64_000;
const SPARSE: usize = 100;

/// A queue, the places of its frames, and a clock that stands until it is turned.
struct Bench {
    pool: FramePool,
    queue: FairQueue,
    now: Instant,
    /// The flow and number of the frame in each place.
    contents: Vec<(u16, usize)>,
    pushed: usize,
}

impl Bench {
    fn new() -> Self {
        let (pool, _) = FramePool::with_landing();
        let now = Instant::now() + Duration::from_secs(10);
        Self { pool, queue: FairQueue::new(PARAMETERS, now), now, contents: vec![(0, 0); PLACES], pushed: 0 }
    }

    /// A frame of a flow comes. Returns its number.
    fn push(&mut self, flow: u16, len: usize) -> usize {
        let place = self.pool.take(Kind::for_len(len)).expect("a free place");
        self.pushed += 1;
        self.contents[place.index()] = (flow, self.pushed);
        self.queue.push(place, len, QueueId(flow), self.now);
        self.pushed
    }

    /// So many frames of a flow come.
    fn fill(&mut self, frames: usize, flow: u16, len: usize) {
        for _ in 0..frames {
            self.push(flow, len);
        }
    }

    /// The flow and number of the frame whose turn it is, and whether its queue stands.
    fn pop(&mut self) -> Option<((u16, usize), bool)> {
        let next = self.queue.pop(self.now)?;
        self.pool.give_back(next.place);
        Some((self.contents[next.place.index()], next.congested))
    }

    fn flows(&mut self, count: usize) -> Vec<u16> {
        (0..count).map_while(|_| self.pop()).map(|((flow, _), _)| flow).collect()
    }
}

#[test]
fn a_sparse_flow_passes_a_full_one() {
    let mut bench = Bench::new();
    bench.fill(40, 1, BULK);
    assert_eq!(bench.flows(3), [1, 1, 1]);
    for _ in 0..20 {
        bench.push(2, SPARSE);
        assert_eq!(bench.flows(2), [2, 1], "each time that one comes, at once");
        bench.push(1, BULK);
    }
}

#[test]
fn a_flow_keeps_its_order_and_every_frame_comes_out_once() {
    let mut bench = Bench::new();
    let mut pushed: Vec<(u16, usize)> = Vec::new();
    let mut popped = Vec::new();
    for n in 0..3000_usize {
        let (flow, len) = ((n * n % 7) as u16, if n % 5 == 0 { 3000 + n } else { SPARSE + n % 1500 });
        pushed.push((flow, bench.push(flow, len)));
        if n % 60 > 0 {
            popped.extend(bench.pop().map(|(frame, _)| frame));
        }
    }
    popped.extend(std::iter::from_fn(|| bench.pop()).map(|(frame, _)| frame));
    assert!(bench.queue.is_empty());
    for flow in 0..7 {
        let of_flow =
            |frames: &[(u16, usize)]| frames.iter().filter(|frame| frame.0 == flow).copied().collect::<Vec<_>>();
        assert_eq!(of_flow(&popped), of_flow(&pushed), "flow {flow}");
    }
}

#[test]
fn flows_share_bytes_and_not_frames() {
    let mut bench = Bench::new();
    let lens = [BULK, 1400, 9000];
    let (mut sent, mut waiting) = ([0; 3], [0; 3]);
    for _ in 0..4000 {
        for (flow, len) in lens.into_iter().enumerate() {
            while waiting[flow] < 10 {
                bench.push(flow as u16, len);
                waiting[flow] += 1;
            }
        }
        let ((flow, _), _) = bench.pop().expect("all have something");
        sent[usize::from(flow)] += lens[usize::from(flow)];
        waiting[usize::from(flow)] -= 1;
    }
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*least * 100 > *most * 95, "{sent:?}");
}

#[test]
fn a_flow_that_was_new_and_came_again_does_not_keep_the_others_waiting() {
    let mut bench = Bench::new();
    bench.fill(10, 1, 1400);
    bench.push(2, BULK);
    let mut order = Vec::new();
    for _ in 0..8 {
        order.extend(bench.flows(1));
        // Whenever flow 2 has nothing left, its next frame comes.
        if order.last() == Some(&2) {
            bench.push(2, BULK);
        }
    }
    assert!(order.iter().filter(|flow| **flow == 1).count() >= 5, "{order:?}");
}

/// Both flows get frames at a steady rate; what the outlet takes is less. Counts signals by flow.
fn signals(bench: &mut Bench, rounds: u32, standing: usize) -> [u32; 2] {
    let mut signals = [0; 2];
    bench.fill(standing, 0, BULK);
    for _ in 0..rounds {
        bench.push(0, BULK);
        bench.push(1, SPARSE);
        bench.now += Duration::from_micros(100);
        for _ in 0..2 {
            let ((flow, _), congested) = bench.pop().expect("two were pushed");
            signals[usize::from(flow)] += u32::from(congested);
        }
    }
    signals
}

#[test]
fn a_standing_queue_is_told_and_the_sparse_flow_beside_it_is_not() {
    // 30 frames ahead are 3 ms.
    let signals = signals(&mut Bench::new(), 2000, 30);
    assert!(signals[0] >= 5 && signals[1] == 0, "{signals:?}");
}

#[test]
fn a_queue_below_the_target_and_a_burst_are_not_told() {
    // 10 frames ahead are 1 ms.
    assert_eq!(signals(&mut Bench::new(), 2000, 10), [0, 0]);
    // 38 ms of a long queue.
    assert_eq!(signals(&mut Bench::new(), 380, 30), [0, 0]);
}

#[test]
fn who_holds_most_of_what_ran_out_loses_its_oldest() {
    let mut bench = Bench::new();
    bench.fill(20, 1, BULK);
    bench.fill(30, 2, SPARSE);
    bench.push(3, SPARSE);
    bench.push(3, BULK);
    for (kind, flow, first) in [(Kind::Large, 1, 1), (Kind::Small, 2, 21)] {
        for oldest in first..first + 5 {
            let (place, _) = bench.queue.shed(kind).expect("frames wait");
            assert_eq!(bench.contents[place.index()], (flow, oldest));
        }
    }
    assert_eq!(bench.flows(100).len(), 42);
}

#[test]
fn nothing_is_shed_of_nothing() {
    assert_eq!(Bench::new().queue.shed(Kind::Large), None);
}
