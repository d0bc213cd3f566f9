;; Transform: writes a line to standard output by WASI 0.1, as Go's programs do.
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(data (i32.const 512) "hello from 2019\n")
(func (export "transform") (param i32 i32) (result i32)
  (i32.store (i32.const 256) (i32.const 512))
  (i32.store (i32.const 260) (i32.const 16))
  (if (call $fd_write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 264)) (then unreachable))
  (call $ok))
