;; Transform: emits a block of one empty record without end.
(func (export "transform") (param i32 i32) (result i32)
  (local $block i32)
  (local.set $block (i32.const 1024))
  (i32.store offset=4 (local.get $block) (i32.const 1))
  (i32.store offset=8 (local.get $block) (i32.const 7))
  ;; A record of six bytes: no key, no value, no headers.
  (i32.store offset=20 (local.get $block) (i32.const 0x0000000c))
  (i32.store offset=24 (local.get $block) (i32.const 0x00000101))
  (loop $more
    (call $emit (local.get $block) (i32.const 27))
    (br $more))
  unreachable)
