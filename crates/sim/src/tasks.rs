//! The users' executor: tasks that run only when they were woken, and time that passes for them.
//!
//! A task that nobody wakes never runs again: a lost wake-up is found by the task that does not end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Virtual time, and who waits for it.
#[derive(Default)]
pub struct Clock {
    now_ms: Cell<u64>,
    sleepers: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_id: Cell<u64>,
}

impl Clock {
    /// Milliseconds since the world began.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// When the next sleeper wakes.
    pub fn next_ms(&self) -> Option<u64> {
        self.sleepers.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets time pass and wakes whoever waited for it.
    pub fn set(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        loop {
            let waker = match self.sleepers.borrow_mut().first_entry() {
                Some(first) if first.key().0 <= now_ms => first.remove(),
                _ => return,
            };
            waker.wake();
        }
    }

    /// Ends after so long.
    pub fn sleep(self: &Rc<Self>, ms: u64) -> Sleep {
        Sleep { clock: self.clone(), until_ms: self.now_ms() + ms, key: None }
    }
}

/// See [`Clock::sleep`].
pub struct Sleep {
    clock: Rc<Clock>,
    until_ms: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now_ms() >= self.until_ms {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            let id = self.clock.next_id.get();
            self.clock.next_id.set(id + 1);
            (self.until_ms, id)
        });
        self.key = Some(key);
        self.clock.sleepers.borrow_mut().insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.sleepers.borrow_mut().remove(&key);
        }
    }
}

/// Tasks and the queue of those that were woken.
#[derive(Default)]
pub struct Tasks {
    tasks: Vec<Task>,
    ready: Arc<Ready>,
}

struct Task {
    name: String,
    /// `None`: it has ended.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

#[derive(Default)]
struct Ready {
    queue: Mutex<VecDeque<usize>>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut queue = self.ready.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.contains(&self.task) {
            queue.push_back(self.task);
        }
    }
}

impl Tasks {
    /// A new task; it runs as soon as it is its turn.
    pub fn spawn(&mut self, name: String, future: impl Future<Output = ()> + 'static) {
        let task = self.tasks.len();
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.ready.clone() }));
        waker.wake_by_ref();
        self.tasks.push(Task { name, future: Some(Box::pin(future)), waker });
    }

    /// How many tasks were woken and have not run.
    pub fn ready(&self) -> usize {
        self.ready.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Runs the task at this place of the queue. Which task it was.
    pub fn run(&mut self, at: usize) -> Option<usize> {
        let task = self.ready.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(at)?;
        self.poll(task);
        Some(task)
    }

    /// Polls a task, woken or not. True if it ends with that.
    pub fn poll(&mut self, task: usize) -> bool {
        let Some(entry) = self.tasks.get_mut(task) else { return false };
        let Some(future) = &mut entry.future else { return false };
        let is_done = future.as_mut().poll(&mut Context::from_waker(&entry.waker)).is_ready();
        if is_done {
            entry.future = None;
        }
        is_done
    }

    /// Tasks that have not ended, with their names.
    pub fn open(&self) -> Vec<(usize, String)> {
        let open = self.tasks.iter().enumerate().filter(|(_, task)| task.future.is_some());
        open.map(|(number, task)| (number, task.name.clone())).collect()
    }

    /// Whether all tasks have ended.
    pub fn are_done(&self) -> bool {
        self.tasks.iter().all(|task| task.future.is_none())
    }

    /// Drops all tasks.
    pub fn clear(&mut self) {
        self.tasks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_runs_only_when_it_was_woken() {
        let (mut tasks, clock, ran) = (Tasks::default(), Rc::new(Clock::default()), Rc::new(Cell::new(0)));
        let (inner, count) = (clock.clone(), ran.clone());
        tasks.spawn("sleeper".into(), async move {
            inner.sleep(10).await;
            count.set(count.get() + 1);
        });
        assert_eq!(tasks.run(0), Some(0));
        clock.set(9);
        assert_eq!((tasks.ready(), clock.next_ms()), (0, Some(10)));
        clock.set(10);
        assert_eq!(tasks.run(0), Some(0));
        assert_eq!((ran.get(), tasks.are_done(), clock.next_ms()), (1, true, None));
    }
}
