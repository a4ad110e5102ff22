//! Processors that the root VM starts by a call of the firmware's, as on Arm: the backend brings them with the state in which
//! they begin.

mod common;

use common::{TEST, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::standard::Standard;
use plinth_extension_api::abi::Call;
use plinth_launch::LaunchError;

/// An extension that ends at the test's hypercall, and that cannot have any processor but the first where `refuses`.
fn lab(refuses: bool) -> Lab {
    let standard = Standard::new();
    let own = standard.clone();
    let ends = |_: &Standard, user: &User, _| {
        let _ = user.call(Call::ControlExit, &[]);
    };
    let extension = with_test(&standard, ends).on(Slot::Bootstrap, move |user, [pp, ..]| {
        if refuses && pp != 0 {
            let _ = user.call(Call::ControlExit, &[]);
        }
        own.bootstrap_on(user, pp);
    });
    Lab::new(extension)
}

#[test]
fn one_begins_where_its_state_says() {
    let mut lab = lab(false);
    lab.launch(0, &program(&[&wait_for(1)]));
    lab.start_by_call(1, &program(&[&[Op::Report { register: 4 }]]));
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [Lab::root_state(1).registers[4]], "and not as after a reset");
    meet(&lab, 1);
    promoted(&lab.end(0));
}

#[test]
fn one_that_comes_after_the_extension_runs_without_it() {
    let mut lab = lab(true);
    lab.launch(0, &program(&[&TEST, &wait_for(1)]));
    common::eventually("the crash", || !lab.machine.trace().is_empty());
    lab.start_by_call(1, &program(&[&id_read(7)]));
    promoted(&lab.end(1));
    assert_eq!(lab.machine.values(), [0x77], "the machine's own answer");
    meet(&lab, 1);
    promoted(&lab.end(0));
}

#[test]
fn one_that_the_extension_cannot_have_is_given_back_each_time() {
    let mut lab = lab(true);
    lab.launch(0, &program(&[&wait_for(1)]));
    let objects = lab.kernel.object_counts();
    for _ in 0..3 {
        lab.start_by_call(1, &Op::STOP);
        let Ended::Abandoned(status, root) = lab.end(1) else { panic!("launched") };
        assert_eq!((status.error(), root), (Some(LaunchError::ExtensionExited), Lab::root_state(1)));
        assert_eq!(lab.kernel.object_counts(), objects, "nothing of it is left");
    }
    meet(&lab, 1);
    promoted(&lab.end(0));
}
