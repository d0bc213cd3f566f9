;; WASI preview 1 as far as Go's runtime asks for it, from nothing: no arguments, no environment, no files, time
;; that passes when somebody looks, random numbers that are always the same.
;;
;; A plugin needs no more, and so its component asks for nothing. The adapter that turns preview 1 into WASI 0.2
;; would be the other way. It traps under Go when the collector reads the clock while the host passes a value,
;; and it keeps its state in memory that Go's allocator, which believes all growth to be its own, writes over.
(module
  (import "env" "memory" (memory 0))

  ;; Nanoseconds.
  (global $now (mut i64) (i64.const 1000000000))
  (global $random (mut i64) (i64.const 0x2545f4914f6cdd1d))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $time) (global.get $now))
    (i32.const 0))

  ;; Knuth's generator, a byte at a time.
  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (global.set $random
          (i64.add
            (i64.mul (global.get $random) (i64.const 6364136223846793005))
            (i64.const 1442695040888963407)))
        (i64.store8 (local.get $at) (i64.shr_u (global.get $random) (i64.const 56)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; The first thing that is waited for is there at once; Go waits for clocks only.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (i64.store (local.get $out) (i64.load (local.get $in)))
    (i64.store offset=8 (local.get $out) (i64.const 0))
    (i64.store offset=16 (local.get $out) (i64.const 0))
    (i64.store offset=24 (local.get $out) (i64.const 0))
    (global.set $now (i64.add (global.get $now) (i64.const 1000000)))
    (i32.store (local.get $events) (i32.const 1))
    (i32.const 0))

  ;; Two counts, both zero.
  (func $nothing (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $nothing))
  (export "environ_sizes_get" (func $nothing))

  (func $done (param i32 i32) (result i32)
    (i32.const 0))
  (export "args_get" (func $done))
  (export "environ_get" (func $done))

  (func (export "sched_yield") (result i32)
    (i32.const 0))

  (func (export "proc_exit") (param i32)
    unreachable)

  ;; Takes everything and keeps nothing: plugins write to their log.
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $pieces))))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; There are no files: "bad file descriptor".
  (func $no_file1 (param i32) (result i32)
    (i32.const 8))
  (func $no_file2 (param i32 i32) (result i32)
    (i32.const 8))
  (func $no_file3 (param i32 i32 i32) (result i32)
    (i32.const 8))
  (export "fd_close" (func $no_file1))
  (export "fd_fdstat_get" (func $no_file2))
  (export "fd_fdstat_set_flags" (func $no_file2))
  (export "fd_prestat_get" (func $no_file2))
  (export "fd_prestat_dir_name" (func $no_file3)))
