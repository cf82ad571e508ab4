"""The inertial measurement unit (IMU): samples between images, gyroscope, preintegration, initialisation, checks."""
