//! A frame of the TUN, a packet or a super-packet behind its virtio header, on its way into the slab.

use super::device::FrameRoom;
use super::outer_header::mark_congestion;
use super::segment::{NotSegmentable, Segmenter, complete_checksum};
use crate::wire::virtio_net::{HEADER_LEN, Segmentation, VirtioNetHeader};

/// The packet or super-packet of a frame.
pub fn packet(frame: &[u8]) -> &[u8] {
    frame.get(HEADER_LEN..).unwrap_or_default()
}

/// How many packets a frame becomes.
pub fn packets(frame: &[u8]) -> u64 {
    match contents(frame) {
        Ok((_, Some(segmenter))) => segmenter.left() as u64,
        _ => 1,
    }
}

/// Marks the packets of a frame "congestion experienced" (RFC 3168), if they are ECN-capable. Says whether they are.
pub fn mark(frame: &mut [u8]) -> bool {
    mark_congestion(frame.get_mut(HEADER_LEN..).unwrap_or_default())
}

/// What the device says of a frame, and what takes it apart if it is a super-packet.
fn contents(frame: &[u8]) -> Result<(VirtioNetHeader, Option<Segmenter>), NotSegmentable> {
    let (header, packet) = frame.split_first_chunk().ok_or(NotSegmentable)?;
    let header = VirtioNetHeader::parse(header).map_err(|_| NotSegmentable)?;
    let whole = header.segmentation == Segmentation::None;
    Ok((header, if whole { None } else { Some(Segmenter::new(&header, packet)?) }))
}

/// Hands frames over as packets, one frame at a time.
#[derive(Debug, Default)]
pub struct Unpacker {
    /// Of the super-packet that is not handed over whole yet.
    segmenter: Option<Segmenter>,
}

impl Unpacker {
    /// Whether the rest of a frame waits for room.
    pub fn has_rest(&self) -> bool {
        self.segmenter.is_some()
    }

    /// Hands over the packets of a frame, as many as there is room for. With `lose` the first is left out. Says whether there
    /// is any to hand over.
    ///
    /// # Errors
    /// The frame contradicts itself; nothing of it was handed over.
    pub fn unpack(&mut self, frame: &mut [u8], lose: bool, room: &mut FrameRoom<'_>) -> Result<bool, NotSegmentable> {
        let (header, segmenter) = contents(frame)?;
        if let Some(mut segmenter) = segmenter {
            if lose {
                segmenter.skip();
            }
            let any = segmenter.left() > 0;
            self.segmenter = any.then_some(segmenter);
            self.hand_over(frame, room);
            return Ok(any);
        }
        if lose {
            return Ok(false);
        }
        let packet = &mut frame[HEADER_LEN..];
        if let Some(partial) = header.checksum {
            complete_checksum(packet, partial)?;
        }
        let space = room.space().get_mut(..packet.len()).ok_or(NotSegmentable)?;
        space.copy_from_slice(packet);
        room.commit(packet.len());
        Ok(true)
    }

    /// Goes on with the frame that was not handed over whole, the same as before.
    pub fn hand_over(&mut self, frame: &[u8], room: &mut FrameRoom<'_>) {
        let Some(segmenter) = &mut self.segmenter else { return };
        while let Some(len) = segmenter.next_len() {
            let Some(space) = room.space().get_mut(..len) else { return };
            segmenter.write_next(packet(frame), space);
            room.commit(len);
        }
        self.segmenter = None;
    }
}
