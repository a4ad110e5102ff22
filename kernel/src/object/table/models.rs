//! Tables of objects under every order of accesses, as `mailbox/models.rs` is for mailboxes: an object is a cell of
//! loom's, which notices when two PPs are at it.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;

/// What a table holds: a value, and a cell that is accessed with it.
struct Object {
    value: u32,
    cell: UnsafeCell<()>,
}

type Objects = Table<Object, 1>;

const ANY: fn(&Object) -> Result<(), Error> = |_| Ok(());

impl Object {
    fn new(value: u32) -> Self {
        Self { value, cell: UnsafeCell::new(()) }
    }

    fn read(&self) -> u32 {
        self.cell.with(|_| self.value)
    }

    fn write(&self) {
        self.cell.with_mut(|_| ());
    }
}

/// A table with one object in it, whose value is 1.
fn table() -> (Arc<Objects>, Id) {
    let table = Table::new();
    let id = table.insert(Object::new(1)).map_err(drop).expect("there is room for one");
    (Arc::new(table), id)
}

/// A PP that runs a VS: it has it out of the table meanwhile.
fn run(table: &Objects, id: Id) -> Result<(), Error> {
    let object = table.take(id, ANY)?;
    object.write();
    table.put_back(id, object);
    Ok(())
}

#[test]
fn one_pp_at_a_time_has_an_object() {
    loom::model(|| {
        let (table, id) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || run(&table, id))
        };
        let own = run(&table, id);
        let other = other.join().unwrap();
        assert!(own.is_ok() || other.is_ok(), "it was there for one of them");
        assert!([own, other].iter().all(|result| matches!(result, Ok(()) | Err(Error::Busy))));
        assert_eq!(run(&table, id), Ok(()), "it is back");
    });
}

#[test]
fn an_object_is_removed_from_nobody_who_has_it() {
    loom::model(|| {
        let (table, id) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || run(&table, id))
        };
        let removed = table.remove(id, ANY);
        if let Ok(object) = &removed {
            object.write();
        }
        let ran = other.join().unwrap();
        match (removed.map(drop), ran) {
            (Ok(()), Ok(()) | Err(Error::StaleId)) | (Err(Error::Busy), Ok(())) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_id_never_names_a_later_object() {
    loom::model(|| {
        let (table, id) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.with(id, |object| object.read()))
        };
        let removed = table.remove(id, ANY).map(drop);
        assert_eq!(removed, Ok(()), "whoever works on it in place keeps nobody waiting for ever");
        let later = table.insert(Object::new(2)).map_err(drop).expect("the slot is free again");
        assert!(later != id);
        let seen = other.join().unwrap();
        assert!(matches!(seen, Ok(1) | Err(Error::StaleId)), "{seen:?}");
    });
}

/// A guest's page: while the object's value is 1, it maps the frame. A reader finds and reads the frame under the lock; another PP
/// unmaps it, and then has it for something else.
#[test]
fn a_frame_that_is_read_where_its_mapping_was_found_is_not_reused_meanwhile() {
    loom::model(|| {
        let (table, id) = table();
        let frame = Arc::new(UnsafeCell::new(()));
        let reader = {
            let (table, frame) = (Arc::clone(&table), Arc::clone(&frame));
            thread::spawn(move || {
                table.with(id, |vm| {
                    if vm.read() == 1 {
                        frame.with(|_| ());
                    }
                })
            })
        };
        assert_eq!(table.with(id, |vm| vm.value = 0), Ok(()));
        frame.with_mut(|_| ());
        assert_eq!(reader.join().unwrap(), Ok(()));
    });
}
