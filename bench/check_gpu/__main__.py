"""``make check-gpu``; see `command`."""

from check_gpu.wheels import restart_with_wheels

if __name__ == "__main__":
    restart_with_wheels()  # before anything is imported that may need one of them
    from check_gpu.command import main

    main()
