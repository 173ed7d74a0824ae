//! The timers of a link: heartbeat, silence, deadline, stall and pauses. The worker's timer wheel has one entry for the
//! earliest of them, and calls `on_timer` when it is due.

use std::time::Duration;

use super::{Link, NEVER, Phase};
use crate::transport::{config::Heartbeat, wheel::to_ticks};

impl Link {
    /// Pauses reading until this tick, because the peer sent too many frames.
    pub fn pause_until(&self, tick: u32) {
        self.paused_until.set(tick);
        self.schedule();
    }

    /// Starts the timer after which the connection is closed as too slow, unless the timer is already running.
    pub fn start_stall_timer(&self) {
        if self.stalled_at.get() == NEVER {
            self.stalled_at.set(self.stall_deadline());
            self.schedule();
        }
    }

    /// Restarts a running stall timer, because bytes were written to the socket.
    pub fn restart_stall_timer(&self) {
        if self.stalled_at.get() != NEVER {
            self.stalled_at.set(self.stall_deadline());
        }
    }

    /// Stops the stall timer, because the outbox is low.
    pub fn stop_stall_timer(&self) {
        self.stalled_at.set(NEVER);
    }

    fn stall_deadline(&self) -> u32 {
        self.worker.current_tick().saturating_add(self.worker.limits.stall_ticks + 1)
    }

    fn heartbeat(&self) -> Heartbeat {
        let limits = &self.worker.limits;
        if self.kind.get().is_engine() { limits.engine_heartbeat } else { limits.heartbeat }
    }

    /// The tick at which the connection is closed as silent.
    pub fn silent_at(&self) -> u32 {
        self.last_received.get().saturating_add(self.heartbeat().silent_ticks)
    }

    /// Requests one call of `on_deadline` after this time, in place of an earlier request; `None` cancels the request.
    pub fn set_deadline(&self, after: Option<Duration>) {
        self.deadline_due.set(false);
        self.deadline_at.set(match after {
            // The current tick is partly over, so one more tick is added and the call is never early.
            Some(time) => {
                self.worker.current_tick().saturating_add(to_ticks(time, self.worker.limits.tick) + 1)
            }
            None => NEVER,
        });
        self.schedule();
    }

    /// Adds an entry for the connection's earliest timer to the wheel, unless an earlier entry exists.
    pub fn schedule(&self) {
        let next = if self.phase.get() == Phase::Open {
            let earliest = self.ping_at.get().min(self.silent_at()).min(self.deadline_at.get());
            earliest.min(self.paused_until.get()).min(self.stalled_at.get())
        } else {
            self.close_by.get()
        };
        let next = next.max(self.worker.current_tick() + 1);
        if next < self.timer_at.get() {
            self.timer_at.set(next);
            self.worker.schedule_timer(self, next);
        }
    }

    /// Runs the due timers of this connection. Ignores an entry of the wheel that a later `schedule` has replaced.
    pub fn on_timer(&self, due: u32) {
        if due != self.timer_at.get() {
            return;
        }
        self.timer_at.set(NEVER);
        let now = self.worker.current_tick();
        if self.phase.get() == Phase::Open {
            self.run_open_timers(now);
        } else if now >= self.close_by.get() {
            self.abort();
            return;
        }
        self.schedule();
    }

    /// Runs the due timers of an open connection: deadline, stall, silence, frame rate pause and ping.
    fn run_open_timers(&self, now: u32) {
        if self.deadline_at.get() <= now {
            self.deadline_at.set(NEVER);
            self.deadline_due.set(true);
            self.wake();
        }
        if self.stalled_at.get() <= now {
            self.close_as_too_slow();
            return;
        }
        if self.is_read_paused() {
            self.last_received.set(now);
        } else if now >= self.silent_at() {
            self.close_as_silent();
            return;
        }
        if self.paused_until.get() <= now {
            self.paused_until.set(NEVER);
            self.wake();
        }
        if now >= self.ping_at.get() {
            self.ping_at.set(now.saturating_add(self.heartbeat().ping_ticks));
            self.queue_control(self.worker.ping(self.kind.get()));
        }
    }
}
