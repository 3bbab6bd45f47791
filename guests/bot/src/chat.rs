//! What is kept of a chat: its list, and the updates that have changed it.
//!
//! Both are in one value, because they have to change in one step. Were they two, a guest that is killed between them
//! would either lose an update or handle it again when the service repeats it.

use serde::{Deserialize, Serialize};

use crate::todo;

/// How many updates of a chat are remembered. The service has at most 100 under way (`max_connections`).
const REMEMBERED: usize = 200;

/// For how many seconds one guest alone may send an answer. If it has not said by then what became of it, it has
/// been killed.
const CLAIM: u64 = 60;

/// After how many seconds the service does not repeat an update any more: a day, and an hour to be sure.
const GIVEN_UP: u64 = 25 * 60 * 60;

#[derive(Default, Serialize, Deserialize)]
pub struct Chat {
    tasks: Vec<String>,
    /// In the order in which they came, which need not be that of their numbers.
    updates: Vec<Update>,
}

#[derive(Serialize, Deserialize)]
struct Update {
    id: i64,
    /// The answer, until it is sent.
    due: Option<String>,
    /// Until when a guest may be sending it, in seconds since 1970.
    claimed_until: u64,
}

/// What a guest with an update has to do now.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Send this answer, and call [`Chat::sent`] or [`Chat::release`].
    Send(String),
    /// The update has been handled before.
    Nothing,
    /// Have it repeated: another guest is sending the answer, or too many answers are due.
    Later,
}

impl Chat {
    /// Changes the list as the text of an update says, unless the same update has done so before, and claims the
    /// answer.
    pub fn begin(&mut self, id: i64, text: &str, now: u64) -> Step {
        if let Some(known) = self.find(id) {
            return match &known.due {
                None => Step::Nothing,
                Some(_) if now < known.claimed_until => Step::Later,
                Some(answer) => {
                    let answer = answer.clone();
                    known.claimed_until = now + CLAIM;
                    Step::Send(answer)
                }
            };
        }
        if !self.make_room(now) {
            return Step::Later;
        }
        let answer = todo::obey(&mut self.tasks, text);
        self.updates.push(Update {
            id,
            due: Some(answer.clone()),
            claimed_until: now + CLAIM,
        });
        Step::Send(answer)
    }

    /// The answer to an update is sent, or never will be.
    pub fn sent(&mut self, id: i64) {
        if let Some(update) = self.find(id) {
            update.due = None;
        }
    }

    /// The answer to an update could not be sent: the next guest may try.
    pub fn release(&mut self, id: i64) {
        if let Some(update) = self.find(id) {
            update.claimed_until = 0;
        }
    }

    fn find(&mut self, id: i64) -> Option<&mut Update> {
        self.updates.iter_mut().find(|update| update.id == id)
    }

    /// Forgets the oldest update that needs no answer any more; whether there is room for one more.
    fn make_room(&mut self, now: u64) -> bool {
        if self.updates.len() < REMEMBERED {
            return true;
        }
        let is_over =
            |update: &Update| update.due.is_none() || now > update.claimed_until + GIVEN_UP;
        let oldest = self.updates.iter().position(is_over);
        oldest.map(|oldest| self.updates.remove(oldest)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn sends(step: Step) -> String {
        match step {
            Step::Send(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_that_was_answered_is_not_handled_again() {
        let mut chat = Chat::default();
        assert_eq!(sends(chat.begin(7, "/add a", NOW)), "1. a");
        chat.sent(7);
        assert_eq!(chat.begin(7, "/add a", NOW + 3600), Step::Nothing);
        // Numbers need not grow: after a week without updates, the service goes on at another one.
        assert_eq!(sends(chat.begin(3, "/add b", NOW)), "2. b");
        assert_eq!(chat.tasks, ["a", "b"]);
    }

    #[test]
    fn an_answer_that_was_not_sent_is_sent_when_the_update_is_repeated() {
        let mut chat = Chat::default();
        assert_eq!(sends(chat.begin(7, "/add a", NOW)), "1. a");
        chat.release(7);
        assert_eq!(sends(chat.begin(8, "/add b", NOW)), "2. b");
        assert_eq!(sends(chat.begin(7, "/add a", NOW)), "1. a");
        assert_eq!(chat.tasks, ["a", "b"]);
    }

    #[test]
    fn one_guest_at_a_time_sends_an_answer() {
        let mut chat = Chat::default();
        sends(chat.begin(7, "/add a", NOW));
        assert_eq!(chat.begin(7, "/add a", NOW + CLAIM - 1), Step::Later);
        // The first was killed.
        assert_eq!(sends(chat.begin(7, "/add a", NOW + CLAIM)), "1. a");
        assert_eq!(chat.begin(7, "/add a", NOW + CLAIM), Step::Later);
        assert_eq!(chat.tasks, ["a"]);
    }

    #[test]
    fn what_is_remembered_is_limited_and_answers_that_are_due_are_not_forgotten() {
        let mut chat = Chat::default();
        for id in 0..1000 {
            sends(chat.begin(id, "/list", NOW));
            if id != 1 {
                chat.sent(id);
            }
        }
        assert_eq!(chat.updates.len(), REMEMBERED);
        assert_eq!(chat.begin(999, "/list", NOW), Step::Nothing);
        assert_eq!(chat.begin(1, "/list", NOW), Step::Later);
    }

    #[test]
    fn when_too_many_answers_are_due_the_service_has_to_repeat_until_it_gives_up() {
        let mut chat = Chat::default();
        let mut next = 0..;
        while let Step::Send(_) = chat.begin(next.next().unwrap(), "/list", NOW) {}
        assert_eq!(chat.updates.len(), REMEMBERED);
        assert_eq!(chat.begin(1000, "/add a", NOW), Step::Later);
        assert!(chat.tasks.is_empty());
        let later = NOW + CLAIM + GIVEN_UP + 1;
        assert_eq!(sends(chat.begin(1000, "/add a", later)), "1. a");
    }
}
