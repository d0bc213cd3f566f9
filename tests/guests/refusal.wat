;; Transform: counts its calls, refuses the first and is content with the second.
(data (i32.const 512) "no such order")
(global $calls (mut i32) (i32.const 0))
(func (export "transform") (param i32 i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (if (result i32) (i32.eq (global.get $calls) (i32.const 1))
    (then (call $refuse (i32.const 512) (i32.const 13)))
    (else (call $ok))))
