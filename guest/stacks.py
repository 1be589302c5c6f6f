"""Read the stacks in a report of the kernel.

Takes the messages of one report. Gives the stack of the place that the report is about, and tells it from the stacks
of allocations, earlier accesses and other tasks. Knows which functions only report.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# lib/dump_stack.c, arch/*/kernel/dumpstack.c: a frame is "name+0xoffset/0xsize"; "? " marks an address that was only
# found on the stack and may be old. A symbolizer adds file:line, and lines of inlined functions without an offset.
_FRAME = re.compile(
    r"^ {1,16}(?P<guess>\? )?(?:\[<[0-9a-f]{8,16}>\] )?(?P<name>[\w.$]{1,256})"
    r"(?:\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})(?:$|[ \[(])| [\w./+-]{1,128}:\d{1,6}(?:$| \[inline\]))"
)
# x86-64 prints the address of a trap as RIP, arm64 as pc.
_WHERE = re.compile(
    r"(?:RIP: [0-9a-f]{4}:(?:\[<[0-9a-f]+>\] ?)?|^pc : |"
    r"^PC is at )(?P<name>[\w.$]{1,256})\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})"
)
TRACE = re.compile(r"^ {0,8}Call [Tt]race:|^Backtrace: ?$|^ {2,8}backtrace(?: \(crc [0-9a-f]{1,8}\))?:$")
# Stacks of another time or task follow these (mm/kasan/report*.c, mm/kmsan/report.c, mm/kfence/report.c, mm/slub.c,
# mm/page_owner.c, kernel/locking/lockdep.c, lib/ref_tracker.c, kernel/kcsan/report.c).
_OTHERS = re.compile(
    r"^(?:Allocated by|Freed by|Last potentially related|Second to last potentially|Uninit was |Local variable |"
    r"allocated by task|freed by task|kfence-#|page last (?:allocated|free)|page (?:allocated|freed) via|page has been|"
    r"Allocated in |Freed in |the existing dependency|Showing all locks|-> #\d|\.\.\. which became|to an? |"
    r"the (?:first|second) lock|the dependencies between|irq event stamp|Object (?:allocated|freed)|"
    r"hardirqs last|softirqs last|Register \w+ information|Disabling lock|reclaim entered|Other info)",
    re.IGNORECASE,
)
# The report's own stack follows its title, without "Call Trace:" (mm/kmsan/report.c, kernel/kcsan/report.c).
_BARE = re.compile(r"BUG: K[MC]SAN: |BUG: KFENCE: ")
# KCSAN's access and KFENCE's access: the first of them is the report's own.
_ACCESS = re.compile(
    r"^(?:race at unknown origin, with )?(?:read|write|assert|invalid|out-of-bounds|"
    r"use-after-free)\b.{0,160}:$",
    re.IGNORECASE,
)

# Functions that report, check, lock or wait for others: a report is about their first caller that is none of these.
_MACHINERY = re.compile(
    r"(?:__|___)?(?:dump_stack|show_stack|show_trace|print_report|print_address|print_\w+_bug|print_circular|"
    r"print_usage|"
    r"print_irq|print_bad|print_lock|kasan_|asan_|hwasan_|kmsan_|msan_|kcsan_|tsan_|kfence_|ubsan_|handle_overflow|"
    r"handle_bug|"
    r"handle_object_size|val_to_string|report_bug|warn\b|warn_|panic|vpanic|nmi_panic|die\b|die_|oops_|bug_handler|"
    r"brk_handler|"
    r"exc_|asm_exc_|asm_sysvec|asm_common|sysvec|do_error_trap|do_trap|do_invalid|invalid_op|do_mem_abort|do_debug|"
    r"el1_|el1h_|"
    r"check_memory_region|check_region_inline|check_slab_allocation|slab_err|slab_fix|slab_bug|object_err|check_object|"
    r"check_bytes|check_pad|free_debug_|alloc_debug_|on_freelist|bad_page|free_page_is_bad|check_new_page|"
    r"get_page_owner|"
    r"lock_acquire|lock_release|lock_is_held|lock_downgrade|lockdep_|reacquire|register_lock|assign_lock|look_up_lock|"
    r"validate_chain|check_prev|check_deadlock|check_noncircular|check_irq|check_wait|mark_lock|mark_usage|"
    r"mark_held|valid_state|"
    r"raw_spin_|_raw_|do_raw_|spin_lock|spin_unlock|read_lock|write_lock|queued_|native_queued|pv_|mutex_lock|"
    r"mutex_trylock|"
    r"mutex_unlock|down_read|down_write|up_read|up_write|rwsem_|percpu_down|rt_mutex|rtlock|debug_rt_mutex|"
    r"debug_spin|spin_bug|"
    r"context_switch|schedule|preempt_schedule|io_schedule|bit_wait|wait_on_bit|wait_for|do_wait_for|wait_common|"
    r"rcu_read_lock|"
    r"sched_show_task|watchdog_|rcu_dump|rcu_check|print_cpu_stall|rcu_sched_clock|rcu_pending|hung_task|check_hung|"
    r"schedule_bug|schedule_debug|might_resched|might_sleep|might_fault|might_alloc|cant_sleep|nmi_|trigger_|"
    r"arch_trigger|"
    r"list_add_valid|list_del_entry_valid|list_add|list_del|refcount_|debug_object|debug_print|debug_check|fortify_|"
    r"usercopy_|"
    r"check_object_size|check_heap_object|check_copy|copy_overflow|check_stack_object|stack_chk_fail|"
    r"memcpy|memmove|memset|memcmp|strlen|strnlen|strcmp|strncmp|strcpy|strncpy|strscpy|strlcpy|strchr|strcat|"
    r"strstr|memchr|"
    r"instrument_\w|atomic\d*_|arch_atomic|raw_atomic|arch_test|test_bit|set_bit|clear_bit|arch_set|const_test_bit|"
    r"page_fault_oops|no_context|bad_area|do_user_addr|do_kern_addr|do_page_fault|do_translation|kernelmode_fixup|"
    r"irqentry_|irq_exit|invoke_softirq|handle_softirqs|do_softirq|run_timer|expire_timers|call_timer|"
    r"copy_to_user|copy_from_user|copy_to_iter|copy_from_iter|copyin|copyout|_copy_|raw_copy_|csum_and_copy|"
    r"kmalloc|kzalloc|kcalloc|kvmalloc|kmem_cache_alloc|krealloc|slab_alloc|slab_post_alloc|alloc_pages|folio_alloc|"
    r"get_free_pages|get_page_from_freelist|post_alloc_hook|prep_new_page|"
    r"tick_|hrtimer_|update_process|apic_timer)\w*|__warn|warn_slowpath\w*|printk|_printk|"
    r"vprintk\w*|"
    r"rtnl_lock\w*|ret_from_fork\w*|no_stack_frame"
)


@dataclass(frozen=True)
class Raw:
    """One frame as the kernel prints it.

    Attributes:
        offset, size: bytes; 0 for a function that a symbolizer found inlined.
        returns: whether the address is a return address, and not the address of a fault.
    """

    name: str
    offset: int
    size: int
    returns: bool


def own(messages: Iterable[str]) -> list[Raw]:
    """Return the frames of the place that a report is about, innermost first, reporting functions included.

    Args:
        messages: of the report, from its title on.
    """
    trap: list[Raw] = []
    sure: list[Raw] = []
    guessed: list[Raw] = []
    inside = done = bare = False
    for number, message in enumerate(messages):
        if number == 0 and _BARE.search(message):
            inside = bare = True
        elif _OTHERS.match(message):
            inside, done = False, done or bool(sure and bare)
        elif TRACE.match(message):
            # After the own stack, a second one belongs to another task or CPU.
            inside = inside if bare else not (sure or guessed)
            done = done or (bool(sure or guessed) and not bare)
        elif bare and sure and (_ACCESS.match(message) or not message.strip()):
            done = True
        elif where := _WHERE.search(message):
            if not done and not bare:
                trap = trap or [_raw(where, returns=False)]
        elif inside and not done and (frame := _FRAME.match(message)):
            (guessed if frame["guess"] else sure).append(_raw(frame, returns=True))
        elif bare and sure:
            done = True
    # A kernel without an unwinder, such as tiny, prints only guesses. A user's RIP is not in the kernel.
    return _without_repeats([*trap, *(sure or guessed)])


def guilty(frames: Sequence[Raw]) -> list[Raw]:
    """Return the frames from the first one on that does not only report, check, lock or wait; none if all do."""
    return list(itertools.dropwhile(lambda frame: _MACHINERY.fullmatch(frame.name.partition(".")[0]), frames))


def _raw(match: re.Match[str], *, returns: bool) -> Raw:
    return Raw(match["name"], int(match["offset"] or "0", 16), int(match["size"] or "0", 16), returns)


def _without_repeats(frames: Sequence[Raw]) -> list[Raw]:
    """Remove repeated frames: the RIP of a trap comes again as the first frame of the trace."""
    return list({(frame.name, frame.offset): frame for frame in reversed(frames)}.values())[::-1]
