//! The commands of the bot, and its answers.

/// With these, a whole list is shorter than the 4096 characters that a message may have.
const MAX_TASKS: usize = 30;
const MAX_TASK: usize = 120;

const HELP: &str = "/add TASK puts a task on the list of this chat.\n\
                    /list shows it.\n\
                    /done NUMBER takes a task off.";

/// Changes a list as a message says, and returns the answer.
pub fn obey(tasks: &mut Vec<String>, message: &str) -> String {
    let (command, rest) = message
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((message.trim(), ""));
    // In groups, a command has the name of the bot that it is for: `/list@example_bot`.
    let command = command.split('@').next().unwrap_or_default();
    match (command, rest.trim()) {
        ("/add", "") => "What is to be done? /add TASK".to_owned(),
        ("/add", task) => add(tasks, task),
        ("/list", _) if tasks.is_empty() => "Nothing to do.".to_owned(),
        ("/list", _) => list(tasks),
        ("/done", number) => done(tasks, number),
        _ => HELP.to_owned(),
    }
}

fn add(tasks: &mut Vec<String>, task: &str) -> String {
    if tasks.len() >= MAX_TASKS {
        return format!("The list is full: {MAX_TASKS} tasks.");
    }
    // The service counts as UTF-16 does.
    if task.encode_utf16().count() > MAX_TASK {
        return format!("Too long: a task has at most {MAX_TASK} characters.");
    }
    // One line for each task.
    tasks.push(task.replace(char::is_control, " "));
    format!("{}. {}", tasks.len(), tasks[tasks.len() - 1])
}

fn list(tasks: &[String]) -> String {
    let lines = tasks.iter().zip(1..);
    let lines: Vec<String> = lines
        .map(|(task, number)| format!("{number}. {task}"))
        .collect();
    lines.join("\n")
}

fn done(tasks: &mut Vec<String>, number: &str) -> String {
    let index = number
        .parse()
        .ok()
        .and_then(|number: usize| number.checked_sub(1));
    match index.filter(|index| *index < tasks.len()) {
        Some(index) => format!("Done: {}", tasks.remove(index)),
        None => "There is no such task: /list shows their numbers.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_added_and_listed_and_taken_off() {
        let mut tasks = Vec::new();
        assert_eq!(obey(&mut tasks, "/list"), "Nothing to do.");
        assert_eq!(obey(&mut tasks, "/add  buy milk "), "1. buy milk");
        assert_eq!(obey(&mut tasks, "/add@example_bot a\nb"), "2. a b");
        assert_eq!(obey(&mut tasks, "/list@example_bot"), "1. buy milk\n2. a b");
        assert_eq!(obey(&mut tasks, "/done 1"), "Done: buy milk");
        assert_eq!(obey(&mut tasks, "/list"), "1. a b");
    }

    #[test]
    fn what_is_no_command_changes_nothing() {
        let mut tasks = vec!["a".to_owned()];
        for message in [
            "", "hello", "/start", "/add", "/add  ", "/done", "/done 0", "/done 2", "/done -1",
        ] {
            assert!(!obey(&mut tasks, message).is_empty(), "{message:?}");
            assert_eq!(tasks, ["a"], "{message:?}");
        }
    }

    #[test]
    fn a_whole_list_fits_into_a_message() {
        let mut tasks = Vec::new();
        assert!(obey(&mut tasks, &format!("/add {}", "x".repeat(MAX_TASK + 1))).starts_with("Too"));
        let longest = "🦀".repeat(MAX_TASK / 2);
        for _ in 0..=MAX_TASKS {
            obey(&mut tasks, &format!("/add {longest}"));
        }
        assert_eq!(tasks.len(), MAX_TASKS);
        assert!(obey(&mut tasks, "/list").encode_utf16().count() <= 4096);
    }
}
